# What an exercise's find_package(Catch2) finds when EXERCISM_TEST_SUITE is set: Catch's main program as a library,
# and headers parsed beforehand: Catch's, and those of Boost that exercises use. GCC takes a parsed header only as
# the first thing in a file, so it is put before the tests. What would no longer be noticed for that is a header of
# the solution that does not stand on its own: a source that begins with it shows whether it does, or else a line
# that includes it alone. Before these stands a header of Boost only if the solution's header includes it itself.
# `exercise` and `file` are set by the exercise.
if(NOT TARGET Catch2::Catch2WithMain)
    add_library(Catch2::Catch2WithMain STATIC IMPORTED)
    set_target_properties(Catch2::Catch2WithMain PROPERTIES
        IMPORTED_LOCATION ${CMAKE_CURRENT_LIST_DIR}/libcatchmain.a)
endif()
foreach(part _test.cpp .cpp .h)
    set(text${part} "")
    if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file}${part})
        file(READ ${CMAKE_CURRENT_SOURCE_DIR}/${file}${part} text${part})
    endif()
endforeach()
set(alone ${CMAKE_CURRENT_BINARY_DIR}/.forge/header_alone.cpp)
if(text.h AND NOT text.cpp MATCHES "^[ \t\r\n]*#include \"${file}\\.h\"")
    file(WRITE ${alone} "#include \"../${file}.h\"\n")
    cmake_language(DEFER CALL target_sources ${exercise} PRIVATE ${alone})
endif()
set(parsed parsed.hpp)
foreach(dates gregorian posix_time)
    set(boost boost/date_time/${dates}/${dates}.hpp)
    set(included "(^|\n)[ \t]*#[ \t]*include[ \t]*[<\"]${boost}[>\"]")
    if(text_test.cpp MATCHES "${included}")
        set(parsed ${dates}.hpp)
    endif()
    if(text.h MATCHES "${included}")
        set_source_files_properties(${file}.cpp ${alone} PROPERTIES COMPILE_OPTIONS "-include;${boost}")
    endif()
endforeach()
set_source_files_properties(${file}_test.cpp PROPERTIES COMPILE_OPTIONS "-include;${CMAKE_CURRENT_LIST_DIR}/${parsed}")
