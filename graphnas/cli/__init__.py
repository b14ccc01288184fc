"""The command line: parse, call the library, print. One command a file, loaded when called; torch is imported when a command runs."""
