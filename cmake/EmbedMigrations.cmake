# Writes a C table of migrations: name and text of each file, in order.
list(SORT FILES)
set(body "// Generated from migrations/*.sql.\n#include \"ecolink/db.h\"\n\nextern const eco_migration ${SYMBOL}[];\nconst eco_migration ${SYMBOL}[] = {\n")
foreach(file ${FILES})
  get_filename_component(stem ${file} NAME_WE)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" escaped "${hex}")
  # Short string pieces: a hex escape must not run into the next, and compilers bound one literal's length.
  string(REGEX REPLACE "((\\\\x[0-9a-f][0-9a-f])(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?)" "\"\\1\"\n" lines "${escaped}")
  string(APPEND body "    {.name = \"${stem}\", .sql = ${lines}},\n")
endforeach()
string(APPEND body "    {.name = NULL},\n};\n")
file(WRITE ${OUT} "${body}")
