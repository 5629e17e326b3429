# find_package(Aerate): a library aerate::LAYER for each folder that docs/architecture.md lists up to migration.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(Boost 1.81)
include(${CMAKE_CURRENT_LIST_DIR}/AerateTargets.cmake)
