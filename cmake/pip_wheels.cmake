# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
# What it takes to build messages against the ROS 2 wheels of PyPI. No-ops on a ROS install.

# The wheels export include directories of the machine that built them, and CMake refuses an
# imported target whose include directory does not exist: drop those. Call after find_package().
macro(drop_missing_include_directories)
  get_property(imported_targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS imported_targets)
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT directories)
      continue()
    endif()
    set(existing "")
    foreach(directory IN LISTS directories)
      if(directory MATCHES "^\\$<" OR EXISTS "${directory}")
        list(APPEND existing "${directory}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${existing}")
  endforeach()
endmacro()

# rosidl exports NumPy's include directory; with the environment inside the source tree (.venv)
# CMake takes that for a mistake. Nobody links to this target outside our own build.
macro(hide_include_directories_from_export target)
  if(TARGET ${target})
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    set(hidden "")
    foreach(directory IN LISTS directories)
      if(directory MATCHES "^\\$<")
        list(APPEND hidden "${directory}")
      elseif(directory)
        list(APPEND hidden "$<BUILD_INTERFACE:${directory}>")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${hidden}")
  endif()
endmacro()
