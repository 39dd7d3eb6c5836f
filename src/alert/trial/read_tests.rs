//! Which test files are read, and what is said of the others.
