//! The border between Erlang and the core: decode, call, encode. No decisions.
//!
//! One file per room of the core, all atoms in `atoms`, all errors in `errors`.

mod archive;
mod atoms;
mod errors;
mod external;
mod files;
mod git;
mod hex;
mod hot;
mod http;
mod job;
mod mesh;
mod plan;
mod problems;
mod records;
mod spec;
mod store;
mod terms;

/// Raised whenever a NIF's arguments or results change; `bc_gitops_native` checks it when it starts.
const ABI: u32 = 2;

#[rustler::nif]
fn abi() -> u32 {
    ABI
}

rustler::init!("bc_gitops_native");
