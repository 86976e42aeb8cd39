//! Proxies as the environment names them, in the way of curl: `https_proxy`, `http_proxy`,
//! `all_proxy` and `no_proxy`, or the same in capitals. This machine is never asked through a proxy.

use ureq::Proxy;

use crate::git::url::{Scheme, is_loopback};

use super::error::{HttpError, Kind, Result};
use super::url::HttpUrl;

/// The proxy for a url, by the environment of this process.
pub(super) fn for_url(url: &HttpUrl) -> Result<Option<Proxy>> {
    let Some((name, value)) = named(url, |name| std::env::var(name).ok()) else {
        return Ok(None);
    };
    let proxy = Proxy::new(&value)
        .ok()
        .filter(|_| !value.starts_with("socks"));
    proxy.map(Some).ok_or_else(|| {
        let why = format!("the environment variable {name} names no http proxy");
        HttpError::new(Kind::Unreachable, why)
    })
}

fn named(url: &HttpUrl, get: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let host = &url.base.host;
    let read = |name: &str| {
        let names = [name.to_owned(), name.to_ascii_uppercase()];
        names.into_iter().find_map(|name| {
            let value = get(&name).filter(|value| !value.trim().is_empty())?;
            Some((name, value.trim().to_owned()))
        })
    };
    if is_loopback(host) || read("no_proxy").is_some_and(|(_, list)| is_exempt(host, &list)) {
        return None;
    }
    let own = match url.base.scheme {
        Scheme::Https => "https_proxy",
        _ => "http_proxy",
    };
    read(own).or_else(|| read("all_proxy"))
}

/// Whether a host is in a list as `no_proxy` has it: names with all that ends in them, or `*`.
fn is_exempt(host: &str, list: &str) -> bool {
    list.split([',', ' ']).map(str::trim).any(|entry| {
        let entry = entry
            .trim_start_matches("*.")
            .trim_start_matches('.')
            .to_ascii_lowercase();
        let beyond = host.strip_suffix(&entry);
        entry == "*"
            || !entry.is_empty()
                && beyond.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::url::Policy;

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let policy = Policy {
            allow_http: true,
            allow_local: false,
        };
        let url = HttpUrl::parse(url, policy).unwrap();
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        named(&url, get).map(|(_, value)| value)
    }

    #[test]
    fn the_environment_names_proxies() {
        let all = [
            ("HTTPS_PROXY", "http://s"),
            ("http_proxy", "http://p"),
            ("all_proxy", "http://a"),
        ];
        assert_eq!(chosen("https://h/x", &all).unwrap(), "http://s");
        assert_eq!(chosen("http://h/x", &all).unwrap(), "http://p");
        assert_eq!(chosen("https://h/x", &all[1..]).unwrap(), "http://a");
        assert_eq!(chosen("https://h/x", &[]), None);
        assert_eq!(chosen("http://127.0.0.1/x", &all), None);
    }

    #[test]
    fn exempt_hosts() {
        let proxied = |list: &str| {
            let all = [("https_proxy", "http://s"), ("no_proxy", list)];
            chosen("https://git.example.org/x", &all).is_some()
        };
        for list in [
            "*",
            "example.org",
            ".example.org",
            "*.example.org",
            "a, git.example.org",
            "EXAMPLE.org",
        ] {
            assert!(!proxied(list), "{list}");
        }
        for list in ["", "ample.org", "other.org", "org.example"] {
            assert!(proxied(list), "{list}");
        }
    }
}
