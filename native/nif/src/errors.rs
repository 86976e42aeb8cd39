//! (room errors)
