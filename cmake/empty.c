// Keeps a library without sources of its own linkable.
extern int eco_empty_library;
int eco_empty_library;
