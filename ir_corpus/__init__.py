"""Source files in, a paired source/IR corpus out."""
