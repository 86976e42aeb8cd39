//! `#app_spec{}` in external term format, its fields in the order of `include/bc_gitops.hrl`.
//!
//! Terms can be made by one thread only, their external form by all: thousands of records cross the
//! border as one.

use super::app::{AppSpec, Health, Icon, SourceSpec, Upgrade, VmConfig};
use super::etf::{write_atom, write_binary, write_int, write_length, write_tuple};
use crate::identicon;

/// Pixels of an identicon.
const ICON_SIZE: u32 = 64;
const ICON_TYPE: &str = "image/svg+xml";

/// Appends the record of a spec, without the version byte.
pub(crate) fn write(spec: &AppSpec, out: &mut Vec<u8>) {
    record("app_spec", 11, out);
    write_atom(&spec.name, out);
    write_binary(spec.version.as_bytes(), out);
    optional(spec.description.as_deref(), out);
    match &spec.icon {
        Some(icon) => given_icon(icon, out),
        None => drawn_icon(&spec.name, out),
    }
    source(&spec.source, out);
    spec.env.write(out);
    or_undefined(spec.health.as_ref(), health, out);
    list(&spec.depends_on, write_atom, out);
    write_atom(spec.isolation.name(), out);
    or_undefined(spec.vm_config.as_ref(), vm_config, out);
    upgrade(&spec.upgrade, out);
}

fn given_icon(icon: &Icon, out: &mut Vec<u8>) {
    record("icon_spec", 3, out);
    write_atom(icon.kind.name(), out);
    optional(icon.value.as_deref(), out);
    optional(icon.mime_type.as_deref(), out);
}

fn drawn_icon(name: &str, out: &mut Vec<u8>) {
    record("icon_spec", 3, out);
    write_atom("identicon", out);
    write_binary(&identicon::data_uri(name.as_bytes(), ICON_SIZE), out);
    write_binary(ICON_TYPE.as_bytes(), out);
}

fn source(source: &SourceSpec, out: &mut Vec<u8>) {
    record("source_spec", 5, out);
    write_atom(source.kind.name(), out);
    optional(source.url.as_deref(), out);
    optional(source.sha256.as_deref(), out);
    optional(source.reference.as_deref(), out);
    optional(source.mcid.as_deref(), out);
}

fn health(health: &Health, out: &mut Vec<u8>) {
    record("health_spec", 6, out);
    write_atom(health.kind.name(), out);
    write_int(health.port.into(), out);
    optional(health.path.as_deref(), out);
    write_int(health.interval.into(), out);
    write_int(health.timeout.into(), out);
    write_atom(health.module.as_deref().unwrap_or("undefined"), out);
}

/// A map: its keys in the order of their bytes, as all maps are written.
fn upgrade(upgrade: &Upgrade, out: &mut Vec<u8>) {
    const MAP: u8 = 116;
    out.push(MAP);
    write_length(2, out);
    write_atom("force", out);
    write_atom(if upgrade.force { "true" } else { "false" }, out);
    write_atom("strategy", out);
    write_atom(upgrade.strategy.name(), out);
}

fn vm_config(config: &VmConfig, out: &mut Vec<u8>) {
    let number = |number: &u32, out: &mut Vec<u8>| write_int((*number).into(), out);
    record("vm_config", 4, out);
    or_undefined(config.memory_limit.as_ref(), number, out);
    or_undefined(config.scheduler_limit.as_ref(), number, out);
    optional(config.node_prefix.as_deref(), out);
    list(
        &config.extra_args,
        |text, out| write_binary(text.as_bytes(), out),
        out,
    );
}

fn record(name: &str, fields: usize, out: &mut Vec<u8>) {
    write_tuple(fields + 1, out);
    write_atom(name, out);
}

fn optional(text: Option<&str>, out: &mut Vec<u8>) {
    or_undefined(text, |text, out| write_binary(text.as_bytes(), out), out);
}

fn or_undefined<T>(value: Option<T>, write: impl Fn(T, &mut Vec<u8>), out: &mut Vec<u8>) {
    match value {
        Some(value) => write(value, out),
        None => write_atom("undefined", out),
    }
}

fn list(items: &[String], write: impl Fn(&str, &mut Vec<u8>), out: &mut Vec<u8>) {
    const NIL: u8 = 106;
    if !items.is_empty() {
        out.push(108);
        write_length(items.len(), out);
        items.iter().for_each(|item| write(item, out));
    }
    out.push(NIL);
}

#[cfg(test)]
mod tests {
    use super::super::{Format, NoAtoms, Value, etf, parse, record_fingerprints};

    #[test]
    fn a_record_reads_back_with_the_fingerprints_of_its_spec() {
        let text = "name: a\nversion: '1'\nsource: {type: git, url: 'https://h/x', ref: v1}\n\
                    env: {port: 80}\nhealth: {type: tcp}\ndepends_on: [b, c]\n\
                    vm_config: {memory_limit: 9, extra_args: ['+A', '1']}\n";
        let spec = parse(text.as_bytes(), Format::Yaml, &NoAtoms).spec.unwrap();
        let record = spec.record();
        let Some(Value::Tuple(fields)) = etf::from_bytes(&record) else {
            panic!("no tuple: {record:?}");
        };
        let sizes: Vec<usize> = fields
            .iter()
            .map(|field| match &field.value {
                Value::Tuple(fields) => fields.len(),
                Value::List(items) => items.len(),
                _ => 0,
            })
            .collect();
        assert_eq!(sizes, [0, 0, 0, 0, 4, 6, 0, 7, 2, 0, 5, 0]);
        let prints = (spec.source_fingerprint(), spec.env.fingerprint());
        assert_eq!(record_fingerprints(&record), Some(prints));
    }
}
