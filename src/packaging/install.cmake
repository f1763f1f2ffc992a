# Install rules: headers, both libraries, the CMake package and the pkg-config file.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/coloop)
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS coloop coloop_static coloop_shared EXPORT coloop
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT coloop NAMESPACE coloop:: FILE coloopTargets.cmake DESTINATION ${package_dir})

configure_package_config_file(src/packaging/coloopConfig.cmake.in ${PROJECT_BINARY_DIR}/coloopConfig.cmake
    INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/coloopConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/coloopConfig.cmake ${PROJECT_BINARY_DIR}/coloopConfigVersion.cmake
    DESTINATION ${package_dir})

# The .pc file finds the prefix from its own place, so that the tree can be moved, and installed with
# `cmake --install --prefix` to where it was not configured for.
file(RELATIVE_PATH pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(pc_prefix ${CMAKE_INSTALL_PREFIX})
    set(pc_libdir ${CMAKE_INSTALL_FULL_LIBDIR})
    set(pc_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
    string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
    set(pc_prefix "\${pcfiledir}/${pc_to_prefix}")
    set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
    set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(src/packaging/coloop.pc.in ${PROJECT_BINARY_DIR}/coloop.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/coloop.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
