//! What fields hold and which there are.

use super::super::grammar;

/// A rule for text: its test and how it is described.
pub(super) struct Rule(pub(super) fn(&str) -> bool, pub(super) &'static str);

pub(super) const NAME: Rule = Rule(
    grammar::is_name,
    "a name: a lower-case letter, then letters, digits, _ or @, at most 100",
);
pub(super) const MODULE: Rule = Rule(grammar::is_module, "the name of a module");
pub(super) const VERSION: Rule = Rule(
    grammar::is_version,
    "a version: letters, digits, dots, +, -, _ or ~",
);
pub(super) const REF: Rule = Rule(
    grammar::is_ref,
    "a branch, a tag or a commit, as git names them",
);
pub(super) const URL: Rule = Rule(
    grammar::is_url,
    "an url: https:, ssh:, user@host:path, file: or an absolute path",
);
pub(super) const DOWNLOAD_URL: Rule = Rule(
    grammar::is_download_url,
    "an url: https:, http:, file: or an absolute path",
);
pub(super) const SHA256: Rule = Rule(
    grammar::is_sha256,
    "64 hexadecimal digits, or 32 bytes in base64",
);
pub(super) const MCID: Rule = Rule(
    grammar::is_mcid,
    "mcid1-raw-blake3-<hex> or mcid1-manifest-blake3-<hex>, with 32 to 64 hexadecimal digits",
);
pub(super) const LINE: Rule = Rule(
    grammar::is_line,
    "text of one line, at most 2,000 characters",
);
pub(super) const TEXT: Rule = Rule(|text| !text.contains('\0'), "text without null characters");
pub(super) const PATH: Rule = Rule(
    |text| text.starts_with('/') && grammar::is_line(text),
    "a path that begins with /",
);
pub(super) const PREFIX: Rule = Rule(
    |text| {
        text.len() <= 50
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    },
    "letters, digits, _ or -, at most 50",
);

pub(super) const APP_KEYS: &[&str] = &[
    "name",
    "version",
    "description",
    "icon",
    "source",
    "env",
    "health",
    "depends_on",
    "isolation",
    "vm_config",
    "upgrade",
];
pub(super) const SOURCE_KEYS: &[&str] = &["type", "url", "sha256", "ref", "mcid"];
pub(super) const HEALTH_KEYS: &[&str] = &["type", "port", "path", "interval", "timeout", "module"];
pub(super) const ICON_KEYS: &[&str] = &["type", "value", "mime_type"];
pub(super) const UPGRADE_KEYS: &[&str] = &["strategy", "force"];
pub(super) const VM_KEYS: &[&str] = &[
    "memory_limit",
    "scheduler_limit",
    "node_prefix",
    "extra_args",
];
