# aerate_layer(NAME [EXCEPTIONS] [USES layer...] [LIBRARIES target...])
#
# One folder of src/ becomes the library aerate::NAME from its *.cpp, and the test program NAME_test from its
# *_test.cpp. The data path is built without exceptions; EXCEPTIONS marks an edge, where libraries that throw are
# caught.
function(aerate_layer name)
  cmake_parse_arguments(LAYER "EXCEPTIONS" "" "USES;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
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
    # Half of all that is compiled is tests, and most of that gmock's templates: nothing that is worth optimising.
    if(AERATE_SANITIZE)
      target_compile_options(${name}_test PRIVATE -O0)
    else()
      target_compile_options(${name}_test PRIVATE -Og)
    endif()
    gtest_discover_tests(${name}_test DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 120)
  endif()
endfunction()
