//! Black-box tests of the programs, by engine
