#!/bin/sh
# Makes sure that what the project needs is there: `setup.sh build` for building and running, `setup.sh test` also for
# the tests. On Debian and Ubuntu, as root or with sudo, it installs what is missing; elsewhere it says what to install.
# With everything in place it touches nothing and takes a moment.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
goal=${1:-build}

# One line per need: how to find it | Debian package | Homebrew formula
needs() {
    cat <<'END'
command -v git        | git              | git
has_otp ssl           | erlang-nox       | erlang
has_otp inets         | erlang-nox       | erlang
has_otp kernel/include | erlang-dev      | erlang
command -v rebar3     | rebar3           | rebar3
command -v mix        | elixir           | elixir
command -v cc         | gcc              | (xcode-select --install)
has_headers libc      | libc6-dev        | (xcode-select --install)
has_headers openssl   | libssl-dev       | openssl@3
has_headers zlib      | zlib1g-dev       | (xcode-select --install)
command -v pkg-config | pkgconf          | pkgconf
has_certificates      | ca-certificates  | ca-certificates
on_linux bwrap        | bubblewrap       | -
END
    [ "$goal" = test ] || return 0
    cat <<'END'
has_otp dialyzer      | erlang-dialyzer    | erlang
has_otp common_test   | erlang-common-test | erlang
has_otp eunit         | erlang-eunit       | erlang
has_otp tools         | erlang-tools       | erlang
command -v make       | make               | (xcode-select --install)
command -v openssl    | openssl            | openssl@3
command -v ssh-keygen | openssh-client     | openssh
command -v sshd       | openssh-server     | openssh
command -v nginx      | nginx              | nginx
command -v fcgiwrap   | fcgiwrap           | fcgiwrap
command -v ps         | procps             | -
has_hex_where_packed  | erlang-hex         | -
END
}

has_headers() {
    case $1 in
        openssl) [ -n "${OPENSSL_DIR:-}${OPENSSL_LIB_DIR:-}" ] || pkg-config --exists libssl || [ -d "$(brew_prefix)/opt/openssl@3" ] ;;
        zlib) pkg-config --exists zlib || [ "$(uname -s)" = Darwin ] ;;
        libc) echo '#include <stdlib.h>' | cc -E - >/dev/null ;;
    esac
}
brew_prefix() { if command -v brew >/dev/null; then brew --prefix; else echo /nowhere; fi; }
has_certificates() { [ -e /etc/ssl/certs/ca-certificates.crt ] || [ ! -d /etc/apt ]; }
on_linux() { [ "$(uname -s)" != Linux ] || command -v "$1"; }
# Elixir packages of Hex are built where Hex for Mix is; Debian has it from 13 on.
has_hex_where_packed() { ! apt-cache show erlang-hex || (cd / && mix hex); }
# An application of the installed OTP, or a folder of one: `ssl', `kernel/include'.
has_otp() {
    otp=${otp:-$(erl -noshell -eval 'io:put_chars(code:lib_dir()), halt().')}
    case $1 in
        */*) ls -d "$otp/${1%%/*}"-*/"${1#*/}" ;;
        *) ls -d "$otp/$1"*/ebin ;;
    esac
}

trim() { echo "$1" | sed 's/^ *//; s/ *$//'; }

# Prints the packages of column $1 whose probe fails.
missing() {
    needs | while IFS='|' read -r probe debian brew; do
        eval "$probe" >/dev/null 2>&1 || if [ "$1" = debian ]; then trim "$debian"; else trim "$brew"; fi
    done | sort -u | tr '\n' ' '
}

say_what_to_install() {
    echo "Missing: $(missing debian)"
    case $(uname -s) in
        Darwin) echo "Install with: brew install $(missing brew)" ;;
        *) echo "Install with: apt-get install $(missing debian)   (Debian's names; other systems have their own)" ;;
    esac
}

# Packages of servers start them on installation. The tests start their own on loopback, so nothing else shall run.
install_debian() {
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; } || return 1
        as_root=sudo
    fi
    echo "Installing with apt: $1"
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
        $as_root chmod 755 $policy
        # shellcheck disable=SC2064
        trap "$as_root rm -f $policy" EXIT INT TERM
    fi
    $as_root apt-get update -qq || echo "The package index could not be updated; trying with the one that is there." >&2
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1 >"$log" 2>&1 ||
        { cat "$log"; return 1; }
    [ ! -d /run/systemd/system ] || for package in $1; do
        case $package in
            openssh-server) $as_root systemctl disable -q ssh ;;
            nginx | fcgiwrap) $as_root systemctl disable -q "$package" ;;
        esac
    done
}

if ! command -v cargo >/dev/null; then
    echo "cargo is missing. Install Rust from https://rustup.rs (this project needs $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer)."
    exit 1
fi
packages=$(missing debian)
[ -n "$packages" ] || exit 0
log=$(mktemp)
if command -v apt-get >/dev/null && install_debian "$packages"; then
    rm -f "$log"
    packages=$(missing debian)
    [ -n "$packages" ] || exit 0
fi
rm -f "$log"
say_what_to_install
exit 1
