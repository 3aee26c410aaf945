# One interface target that every object is compiled with: warnings as errors, hardening, sanitizers.
add_library(eco_flags INTERFACE)
target_compile_options(eco_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef
  -Wwrite-strings -Wnull-dereference -fno-strict-aliasing -fno-omit-frame-pointer -fstack-protector-strong
  -fstack-clash-protection)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64")
  target_compile_options(eco_flags INTERFACE -fcf-protection=full)
endif()
if(NOT ECO_SANITIZE AND CMAKE_BUILD_TYPE MATCHES "Release|RelWithDebInfo")
  target_compile_options(eco_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
target_compile_definitions(eco_flags INTERFACE _GNU_SOURCE ECO_VERSION="${PROJECT_VERSION}")
if(ECO_TEST_BUILD)
  target_compile_definitions(eco_flags INTERFACE ECO_TEST_BUILD)
endif()
target_link_options(eco_flags INTERFACE -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)
if(ECO_SANITIZE)
  target_compile_options(eco_flags INTERFACE -fsanitize=${ECO_SANITIZE} -fno-sanitize-recover=all)
  if(CMAKE_C_COMPILER_ID MATCHES "Clang" AND ECO_SANITIZE MATCHES "address")
    # As GCC says it: arenas, pools and huge pages leave memory to malloc then, so that every misuse is seen.
    target_compile_definitions(eco_flags INTERFACE __SANITIZE_ADDRESS__=1)
  endif()
  target_link_options(eco_flags INTERFACE -fsanitize=${ECO_SANITIZE})
  # -Wnull-dereference sees ghosts in instrumented code
  target_compile_options(eco_flags INTERFACE -Wno-null-dereference)
endif()
