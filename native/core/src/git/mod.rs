//! (room git)
