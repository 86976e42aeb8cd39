//! The grammar, alone and against another url.

use super::*;

const OPEN: Policy = Policy {
    allow_http: true,
    allow_local: true,
};

fn parse(text: &str) -> Url {
    Url::parse(text, OPEN).unwrap()
}

#[test]
fn user_information_is_kept_apart() {
    let url = parse("https://me:p%40ss@Host.example:8443/a/b.git");
    assert_eq!(url.clean, "https://Host.example:8443/a/b.git");
    assert_eq!((url.host.as_str(), url.port), ("host.example", Some(8443)));
    assert_eq!(url.password.as_ref().unwrap().0, "p@ss");
    assert!(!format!("{url:?}").contains("p@ss"));
    let url = parse("git@host.example:team/x.git");
    assert_eq!(
        (url.clean.as_str(), url.scheme),
        ("host.example:team/x.git", Scheme::Ssh)
    );
    assert_eq!(url.user, Some(Secret("git".into())));
    assert_eq!(parse("ssh://git@[::1]:22/x").clean, "ssh://[::1]:22/x");
}

#[test]
fn a_login_is_taken_out_of_a_url() {
    let clean = |text: &str| Url::without_login(text).map(|(clean, _)| clean);
    let https = Some("https://h.example:1/a".to_owned());
    for text in ["me:pass", "token", ":pass", "me:p%40%3a"] {
        let url = format!("https://{text}@h.example:1/a");
        assert_eq!(clean(&url), https, "{url}");
    }
    let ssh = Some("ssh://git@h.example:22/a".to_owned());
    assert_eq!(clean("ssh://git:pass@h.example:22/a"), ssh);
    for text in [
        "https://h.example/a",
        "ssh://git@h.example/a",
        "git@h.example:a",
        "/srv/a@b",
        "file:///srv/a:b@c",
        "no url",
    ] {
        assert_eq!(clean(text), None, "{text}");
    }
    let (_, login) = Url::without_login("https://me:pa%20ss@h.example/a").unwrap();
    assert_eq!(login.password, Some(Secret("pa ss".into())));
    assert!(!format!("{login:?}").contains("pa ss"));
}

#[test]
fn hostile_urls_are_refused() {
    for bad in [
        "",
        "-x",
        "--upload-pack=x",
        "ext::sh -c id",
        "ext::id",
        "fd::17",
        "ssh://-oProxyCommand=id/x",
        "-oX:path",
        "host:-x",
        "https://host",
        "https://host/",
        "https:///x",
        "https://ho st/x",
        "https://host/a\nb",
        "https://host/a%0ab",
        "ftp://host/x",
        "git://host/x",
        "file://other/x",
        "file://x",
        "relative/path",
        "name",
        "https://host:0/x",
        "https://host:99999/x",
        "https://host:+1/x",
        "https://[zz]/x",
        "https://h/x?token=1",
        "https://h/x#y",
        "https://-u@h:x@/x",
        "https://u:a%0a@h/x",
        "https://%zz@h/x",
        "C:\\x",
    ] {
        assert!(Url::parse(bad, OPEN).is_err(), "{bad:?}");
    }
}

#[test]
fn errors_hold_no_user_information() {
    for bad in [
        "https://u:canary@h\n/x",
        "https://u:can/canary@host/x",
        "ftp://canary@h/x",
        "canary@h:-x",
        "https://h/x?token=canary",
        "canary@a://canary@h/x",
        "https://h:x/canary@x",
    ] {
        let error = Url::parse(bad, OPEN).unwrap_err();
        assert!(!format!("{error:?}").contains("canary"), "{bad}: {error:?}");
    }
}

#[test]
fn policy() {
    let closed = Policy::default();
    for bad in [
        "http://example.org/x",
        "file:///x",
        "/x",
        "http://127.0.0.1.example.org/x",
    ] {
        assert!(Url::parse(bad, closed).is_err(), "{bad}");
    }
    for good in [
        "https://h/x",
        "http://127.0.0.1:8080/x",
        "http://localhost/x",
        "http://[::1]/x",
        "h:x",
        "ssh://h/x",
    ] {
        assert!(Url::parse(good, closed).is_ok(), "{good}");
    }
}

#[test]
fn relative_submodules() {
    let join = |base: &str, text: &str| parse(base).join(text, OPEN).map(|url| url.clean);
    assert_eq!(
        join("https://h/a/b.git", "../c.git").unwrap(),
        "https://h/a/c.git"
    );
    assert_eq!(join("h:a/b", "../c").unwrap(), "h:a/c");
    assert_eq!(join("file:///r/b", "../c").unwrap(), "file:///r/c");
    assert_eq!(join("/r/b", "./c").unwrap(), "/r/b/c");
    assert!(join("https://h/a", "../../../etc").is_err());
    assert!(join("https://h/a", "ext::id").is_err());
    assert_eq!(
        parse("https://u:p@h/a")
            .join("../c", OPEN)
            .unwrap()
            .password,
        Some(Secret("p".into()))
    );
}

proptest::proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,60}", scheme in "(https|http|ssh|file|ext)?(://|::|:)?") {
        let _ = Url::parse(&format!("{scheme}{text}"), OPEN);
        let _ = Url::parse("https://h/a", OPEN).unwrap().join(&text, OPEN);
    }

    #[test]
    fn no_password_is_shown(user in "[a-z]{1,5}", noise in "[a-z%:/@?#.0-9-]{0,12}") {
        let url = format!("https://{user}:canary@{noise}");
        let shown = format!("{:?}", Url::parse(&url, OPEN));
        proptest::prop_assert!(!shown.contains("canary"));
    }
}
