# What an exercise's find_package(Catch2) finds when EXERCISM_TEST_SUITE is set: Catch's main program as a library,
# and its header parsed beforehand. GCC takes a parsed header only as the first thing in a file, so it is put before
# the tests; what would no longer be noticed for that, a header of the solution that does not stand on its own, is
# looked for by compiling one line that includes it alone. `exercise` and `file` are set by the exercise.
if(NOT TARGET Catch2::Catch2WithMain)
    add_library(Catch2::Catch2WithMain STATIC IMPORTED)
    set_target_properties(Catch2::Catch2WithMain PROPERTIES
        IMPORTED_LOCATION ${CMAKE_CURRENT_LIST_DIR}/libcatchmain.a)
endif()
set_source_files_properties(${file}_test.cpp PROPERTIES COMPILE_OPTIONS "-include;${CMAKE_CURRENT_LIST_DIR}/parsed.hpp")
if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file}.h)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/.forge/header_alone.cpp "#include \"../${file}.h\"\n")
    cmake_language(DEFER CALL target_sources ${exercise} PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/.forge/header_alone.cpp)
endif()
