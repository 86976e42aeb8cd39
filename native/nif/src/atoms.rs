//! Every atom that the border makes, except those that repository text names within its quota.

rustler::atoms! {
    ok,
    error,
    undefined,
    none,

    // keys of error details
    message,
    path,

    // kinds of error: files
    io,
    malformed,
    missing_chunk,
    not_a_file,
    not_beam,
    not_found,
    too_large,
    too_many,

    // digests
    sha256,
    blake3,
}
