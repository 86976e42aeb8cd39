//! Taking a url apart.

use std::path::Path;

use super::{MAX_URL, Scheme, Secret, Url};

/// A url, or why it is none.
pub(super) fn url(text: &str) -> Parsed {
    if text.is_empty() || text.len() > MAX_URL {
        return Err("a url has 1 to 4096 bytes");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("a url holds no white space and no control characters");
    }
    if text.starts_with('-') {
        return Err("a url doesn't start with `-`");
    }
    match text.split_once("://") {
        Some(("https", rest)) => network(Scheme::Https, "https", rest),
        Some(("http", rest)) => network(Scheme::Http, "http", rest),
        Some(("ssh", rest)) => network(Scheme::Ssh, "ssh", rest),
        Some(("file", rest)) => local(rest.strip_prefix("localhost").unwrap_or(rest), "file://"),
        Some(_) => Err("the scheme must be https, ssh, http or file"),
        None if text.starts_with('/') => local(text, ""),
        None => scp_like(text),
    }
}

type Part<T> = Result<T, &'static str>;

type Parsed = Part<Url>;

fn network(scheme: Scheme, name: &str, rest: &str) -> Parsed {
    let missing = "the path of the repository is missing";
    let (authority, path) = rest.split_at(rest.find('/').ok_or(missing)?);
    let (user_info, host_port) = match authority.rsplit_once('@') {
        Some((info, host)) => (Some(info), host),
        None => (None, authority),
    };
    check_path(path)?;
    let (host, port) = split_port(host_port)?;
    let (user, password) = split_user(user_info)?;
    let clean = format!("{name}://{host_port}{path}");
    Ok(Url {
        scheme,
        clean,
        host: host.to_ascii_lowercase(),
        port,
        user,
        password,
    })
}

fn check_path(path: &str) -> Part<()> {
    if path.len() < 2 {
        return Err("the path of the repository is missing");
    }
    if path.contains(['?', '#', '\\']) {
        return Err("a url has no query, no fragment and no backslash");
    }
    let coded = ["%00", "%0a", "%0d", "%0A", "%0D"];
    match coded.iter().any(|code| path.contains(code)) {
        true => Err("the path holds control characters"),
        false => Ok(()),
    }
}

fn local(path: &str, prefix: &str) -> Parsed {
    if !path.starts_with('/') || path.len() < 2 || !Path::new(path).is_absolute() {
        return Err("a local repository needs an absolute path");
    }
    let clean = format!("{prefix}{path}");
    Ok(Url {
        scheme: Scheme::Local,
        clean,
        host: String::new(),
        port: None,
        user: None,
        password: None,
    })
}

/// `user@host:path`. `ext::command` and its like are refused by the grammar of the path.
fn scp_like(text: &str) -> Parsed {
    let (login, path) = text
        .split_once(':')
        .ok_or("neither a url nor an absolute path")?;
    if login.contains('/') || path.is_empty() || path.starts_with([':', '-']) || path.contains('\\')
    {
        return Err("neither a url nor an absolute path");
    }
    let (user, host) = match login.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, login),
    };
    let (host, port) = split_port(host)?;
    let (user, password) = split_user(user)?;
    let clean = format!("{host}:{path}");
    Ok(Url {
        scheme: Scheme::Ssh,
        clean,
        host: host.to_ascii_lowercase(),
        port,
        user,
        password,
    })
}

fn split_port(text: &str) -> Part<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => ipv6(rest)?,
        None => match text.split_once(':') {
            Some((host, port)) => (check_host(host)?, Some(port)),
            None => (check_host(text)?, None),
        },
    };
    match port.map(|port| (port, port.parse::<u16>())) {
        None => Ok((host, None)),
        Some((text, Ok(port))) if port > 0 && !text.starts_with('+') => Ok((host, Some(port))),
        Some(_) => Err("the port is malformed"),
    }
}

/// What follows the opening bracket of an address, and the text of a port.
fn ipv6(rest: &str) -> Part<(&str, Option<&str>)> {
    let (host, rest) = rest.split_once(']').ok_or("the host name is malformed")?;
    if host.parse::<std::net::Ipv6Addr>().is_err() {
        return Err("the host name is malformed");
    }
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err("the port is malformed"),
    }
}

fn check_host(host: &str) -> Part<&str> {
    let valid = !host.is_empty()
        && host.len() <= 253
        && !host.starts_with(['-', '.'])
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if valid {
        Ok(host)
    } else {
        Err("the host name is malformed")
    }
}

type UserInfo = (Option<Secret>, Option<Secret>);

fn split_user(info: Option<&str>) -> Part<UserInfo> {
    let Some(info) = info else {
        return Ok((None, None));
    };
    let (user, password) = match info.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (info, None),
    };
    let user = percent_decode(user)?;
    if user.starts_with('-') || user.is_empty() && password.is_none() {
        return Err("the user name is malformed");
    }
    Ok((
        Some(Secret(user)),
        password.map(percent_decode).transpose()?.map(Secret),
    ))
}

fn percent_decode(text: &str) -> Part<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                    return Err("the user information is malformed");
                };
                bytes.push((high * 16 + low) as u8);
                rest = tail;
            }
            (byte, tail) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text),
        _ => Err("the user information is malformed"),
    }
}
