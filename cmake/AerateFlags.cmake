# Compiler and hardening flags for every target of the project.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()

set(AERATE_SANITIZE "" CACHE STRING "Value for -fsanitize=, for example address,undefined")

add_library(aerate_flags INTERFACE)
target_compile_options(aerate_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual -Wnull-dereference -Werror
  -fstack-protector-strong -fstack-clash-protection -fcf-protection
  -ffunction-sections -fdata-sections)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports these inside libstdc++ and fmt when it inlines at -O2.
  target_compile_options(aerate_flags INTERFACE -Wno-null-dereference -Wno-maybe-uninitialized -Wno-restrict)
  # With several files as one it takes a file's private names for a header's.
  target_compile_options(aerate_flags INTERFACE $<$<BOOL:${AERATE_UNITY}>:-Wno-subobject-linkage>)
endif()
target_compile_definitions(aerate_flags INTERFACE _GLIBCXX_ASSERTIONS)
target_link_options(aerate_flags INTERFACE -Wl,-z,relro,-z,now,--gc-sections)

if(AERATE_SANITIZE)
  target_compile_options(aerate_flags INTERFACE -fsanitize=${AERATE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(aerate_flags INTERFACE -fsanitize=${AERATE_SANITIZE})
else()
  # Fortify needs optimisation, and the sanitizers bring their own checks.
  target_compile_definitions(aerate_flags INTERFACE $<$<CONFIG:Release>:_FORTIFY_SOURCE=3>)
endif()
