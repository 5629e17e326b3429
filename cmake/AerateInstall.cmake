# What is installed, and where. Debian's packages (debian/) are made of this; components are theirs.
install(TARGETS aerate)
file(GLOB pages ${PROJECT_SOURCE_DIR}/docs/man/*.1)
install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${PROJECT_SOURCE_DIR}/contrib/completion/aerate.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME aerate)
install(FILES ${PROJECT_SOURCE_DIR}/contrib/completion/_aerate DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${PROJECT_SOURCE_DIR}/contrib/completion/aerate.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/testbed ${PROJECT_SOURCE_DIR}/contrib/image DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/aerate USE_SOURCE_PERMISSIONS
  PATTERN README.md EXCLUDE)

set(systemd ${PROJECT_SOURCE_DIR}/contrib/systemd)
file(GLOB units ${systemd}/*.service ${systemd}/*.socket)
install(FILES ${units} DESTINATION lib/systemd/system)
install(FILES ${systemd}/sysusers.conf DESTINATION lib/sysusers.d RENAME aerate.conf)
install(FILES ${systemd}/tmpfiles.conf DESTINATION lib/tmpfiles.d RENAME aerate.conf)

# The layers that another monitor may embed, as find_package(Aerate): aerate::balloon and so on. What is above them is this
# monitor itself.
set(embeddable base confine event memory protocol kvm virtio balloon vhost_user guestkit block entropy net vsock platform boot state snapshot migration)
set(libraries ${CMAKE_INSTALL_LIBDIR}/aerate)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/Aerate)
foreach(layer ${embeddable})
  set_target_properties(aerate_${layer} PROPERTIES EXPORT_NAME ${layer})
  set_property(TARGET aerate_${layer} APPEND PROPERTY INTERFACE_COMPILE_FEATURES $<INSTALL_INTERFACE:cxx_std_23>)
  install(TARGETS aerate_${layer} EXPORT aerate ARCHIVE DESTINATION ${libraries})
  install(DIRECTORY ${layer} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/aerate FILES_MATCHING PATTERN *.hpp PATTERN testing EXCLUDE)
endforeach()
list(TRANSFORM embeddable PREPEND aerate_ OUTPUT_VARIABLE targets)
add_custom_target(aerate_libraries DEPENDS ${targets})
install(EXPORT aerate NAMESPACE aerate:: FILE AerateTargets.cmake DESTINATION ${package})
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/AerateConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_SOURCE_DIR}/cmake/AerateConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/AerateConfigVersion.cmake DESTINATION ${package})
