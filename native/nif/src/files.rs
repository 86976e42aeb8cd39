//! (room files)
