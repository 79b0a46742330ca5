"""Where every value of a program lies: layouts, copies where a view cannot do, buffers and their lifetimes."""
