# Half of all that is compiled is tests, and most of that gmock's templates: nothing that is worth optimising, and read
# once for all of them (a test takes 0.6 of the time with clang, 0.75 with g++).
function(aerate_test_flags target)
  target_link_libraries(${target} PRIVATE aerate_flags GTest::gmock)
  if(AERATE_SANITIZE)
    target_compile_options(${target} PRIVATE -O0)
  else()
    target_compile_options(${target} PRIVATE -Og)
  endif()
endfunction()

if(AERATE_TESTS)
  file(WRITE ${CMAKE_BINARY_DIR}/test_headers.cpp "")
  add_library(test_headers OBJECT ${CMAKE_BINARY_DIR}/test_headers.cpp)
  aerate_test_flags(test_headers)
  target_compile_options(test_headers PRIVATE -fPIE)
  target_precompile_headers(test_headers PRIVATE
    <gmock/gmock.h> <gtest/gtest.h> <fmt/format.h> <algorithm> <array> <chrono> <cstdint> <expected> <filesystem>
    <functional> <future> <map> <memory> <mutex> <optional> <random> <set> <span> <string> <string_view> <thread>
    <utility> <variant> <vector>)
  if(CMAKE_CXX_COMPILER_ID MATCHES Clang) # else ccache takes none of it
    target_compile_options(test_headers PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endif()

# aerate_layer(NAME [EXCEPTIONS] [USES layer...] [LIBRARIES target...])
#
# One folder of src/ becomes the library aerate::NAME from its *.cpp, those of its folders included, and the test program
# NAME_test from its *_test.cpp. The data path is built without exceptions; EXCEPTIONS marks an edge, where libraries that throw are
# caught.
function(aerate_layer name)
  cmake_parse_arguments(LAYER "EXCEPTIONS" "" "USES;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")

  if(sources)
    add_library(aerate_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(aerate_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  add_library(aerate::${name} ALIAS aerate_${name})
  target_include_directories(aerate_${name} ${scope}
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/aerate>)
  list(TRANSFORM LAYER_USES PREPEND aerate::)
  target_link_libraries(aerate_${name} ${scope} ${LAYER_USES} ${LAYER_LIBRARIES})
  if(sources)
    target_link_libraries(aerate_${name} PRIVATE $<BUILD_INTERFACE:aerate_flags>)
    set_property(TARGET aerate_${name} PROPERTY UNITY_BUILD ${AERATE_UNITY})
    if(NOT LAYER_EXCEPTIONS)
      target_compile_options(aerate_${name} PRIVATE -fno-exceptions)
    endif()
  endif()

  if(AERATE_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE aerate::${name} aerate_flags GTest::gmock GTest::gtest_main)
    aerate_test_flags(${name}_test)
    target_precompile_headers(${name}_test REUSE_FROM test_headers)
    gtest_discover_tests(${name}_test DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
  endif()
endfunction()
