//! (room atoms)
