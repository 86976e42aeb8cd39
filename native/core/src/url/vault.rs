//! The logins that stand in urls of specs. A spec is kept, shown and written to disk without them:
//! here they are held in memory, by the url that is left, and a job that asks for that url gets
//! them. Urls that a fetched repository names (submodules) are not looked up.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use super::{Secret, Url};

/// Logins of specs that were handed over one by one are forgotten when there are more.
const MOST_HANDED: usize = 1_000;

/// User name and password of a url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name, or a token.
    pub user: Option<Secret>,
    /// The password.
    pub password: Option<Secret>,
}

#[derive(Default)]
struct Vault {
    followed: HashMap<String, Login>,
    handed: HashMap<String, Login>,
}

static VAULT: RwLock<Option<Vault>> = RwLock::new(None);

/// The logins of the commit that is followed, in place of those of the commit before.
pub fn follow(logins: impl Iterator<Item = (String, Login)>) {
    let logins = logins.collect();
    writing().get_or_insert_default().followed = logins;
}

/// The login of a spec that does not come from the commit that is followed.
pub fn hand(url: &str, login: Login) {
    let mut vault = writing();
    let handed = &mut vault.get_or_insert_default().handed;
    if handed.len() >= MOST_HANDED {
        handed.clear();
    }
    handed.insert(url.to_owned(), login);
}

/// Takes the login out of a url that comes from no parsed spec; `None`: there is none in it.
pub fn take(url: &str) -> Option<String> {
    let front = url.split('?').next()?;
    let (clean, login) = Url::without_login(front)?;
    hand(&clean, login);
    Some(clean + &url[front.len()..])
}

/// Gives a url without a login the one that was taken out of it.
pub(super) fn complete(url: &mut Url) {
    if url.user.is_some() || url.password.is_some() {
        return;
    }
    let vault = VAULT.read().unwrap_or_else(PoisonError::into_inner);
    let login = vault.as_ref().and_then(|vault| {
        let handed = || vault.handed.get(&url.clean);
        vault.followed.get(&url.clean).or_else(handed)
    });
    if let Some(Login { user, password }) = login {
        url.user.clone_from(user);
        url.password.clone_from(password);
    }
}

fn writing() -> RwLockWriteGuard<'static, Option<Vault>> {
    VAULT.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    fn login_of(text: &str) -> (Option<Secret>, Option<Secret>) {
        let url = Url::parse(text, Policy::default()).unwrap();
        (url.user, url.password)
    }

    /// One test: the vault is one for the process.
    #[test]
    fn a_login_is_found_by_its_url_and_by_no_other() {
        let (clean, login) = Url::without_login("https://me:p%40ss@vault.example/a").unwrap();
        assert_eq!(clean, "https://vault.example/a");
        let found = (login.user.clone(), login.password.clone());
        assert_eq!(login_of(&clean), (None, None));
        hand(&clean, login.clone());
        assert_eq!(login_of(&clean), found);
        assert_eq!(login_of("https://vault.example/b"), (None, None));
        let own = login_of("https://you@vault.example/a");
        assert_eq!(own, (Some(Secret("you".into())), None));

        let newer = Login {
            password: Some(Secret("newer".into())),
            ..login
        };
        follow([(clean.clone(), newer.clone())].into_iter());
        assert_eq!(login_of(&clean).1, newer.password);
        let base = Url::parse("https://other.example/x", Policy::default()).unwrap();
        let submodule = base.join(&clean, Policy::default()).unwrap();
        assert_eq!((submodule.user, submodule.password), (None, None));
        follow(std::iter::empty());
        assert_eq!(login_of(&clean), found);
        for n in 0..=MOST_HANDED {
            hand(&format!("https://vault.example/many/{n}"), newer.clone());
        }
        assert_eq!(login_of(&clean), (None, None));
    }
}
