#!/bin/sh
# Installs what a purpose needs and this machine lacks, and nothing else: with everything
# there it changes nothing and says nothing.
#
#   xtask/setup.sh [--dry-run] worker|install|run|test|bench
#
# Each purpose needs what those before it need, and more:
#   worker   builds the programs: a C compiler
#   install  builds the extension: a Postgres with its headers, and libclang
#   run      runs private clusters, as the demo does: the server's programs
#   test     runs all tests and lints: the server's test drivers, a pooler, a clock that
#            can be set, plpgsql_check, nginx
#   bench    what run needs, and the peers beside which Tidings is measured: Node with
#            Express and pg, and PgQ; not what test needs
#
# PG_CONFIG names a Postgres of your own; then none is installed.
set -eu

cd "$(dirname "$0")/.."

dry_run=
if [ "${1-}" = --dry-run ]; then
  dry_run=yes
  shift
fi
# What the purpose includes: `wants run` is true of run and of test.
case "${1-}" in
worker) purposes=" worker " ;;
install) purposes=" worker install " ;;
run) purposes=" worker install run " ;;
test) purposes=" worker install run test " ;;
bench) purposes=" worker install run bench " ;;
*)
  echo "setup: say for what: worker, install, run, test or bench" >&2
  exit 64
  ;;
esac
wants() {
  case "$purposes" in
  *" $1 "*) return 0 ;;
  *) return 1 ;;
  esac
}

say() { printf 'setup: %s\n' "$*"; }
stop() {
  say "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
run() {
  say "\$ $*"
  [ -n "$dry_run" ] || "$@"
}

# Whether one of the files that the patterns name is there.
any_file() {
  for file in "$@"; do
    [ ! -e "$file" ] || return 0
  done
  return 1
}

have cargo || stop "install Rust (https://rustup.rs), then try again: cargo is not in PATH"

# ---------------------------------------------------------------- packages

packages=
need() { packages="$packages $*"; }

have cc && have make && any_file /usr/include/stdio.h || need build-essential

if wants test; then
  # A test steps the clock of its server.
  any_file /usr/lib/*/faketime/libfaketime.so.1 /usr/lib64/faketime/libfaketime.so.1 || need libfaketime

  # Two workers share a database through a pooler.
  have pgbouncer || any_file /usr/sbin/pgbouncer || need pgbouncer

  # A test runs the README's commands.
  have curl || need curl
fi

if wants bench; then
  # Node's own packages bring npm along; Debian's do not.
  have node || need nodejs
  have npm || need npm
fi

# bindgen reads the server's headers with libclang, which brings its own stddef.h.
if wants install && [ -z "${LIBCLANG_PATH-}" ]; then
  any_file /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-*.so* /usr/lib*/libclang.so* &&
    any_file /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib*/clang/*/include/stddef.h ||
    need libclang-dev
fi

# What of a Postgres is missing, in words; nothing when it is complete.
lacking() {
  have "$1" || {
    echo "$1 itself"
    return
  }
  bindir=$("$1" --bindir)
  programs=postgres
  ! wants run || programs="postgres initdb pg_basebackup psql"
  for program in $programs; do
    [ -x "$bindir/$program" ] || echo "$bindir/$program"
  done
  [ -e "$("$1" --includedir-server)/postgres.h" ] || echo "the server's headers"
}

# Whether the first pg_config's server has no test drivers.
lacks_drivers() {
  pgxs=$(have pg_config && dirname "$(dirname "$(pg_config --pgxs)")" || echo /nowhere)
  ! any_file "$pgxs/test/regress/pg_regress" || ! any_file "$pgxs/test/isolation/pg_isolation_regress"
}

server_lacks=
if ! wants install; then
  :
elif [ -n "${PG_CONFIG-}" ]; then
  missing=$(lacking "$PG_CONFIG" | paste -s -d, -)
  [ -z "$missing" ] || stop "the Postgres of PG_CONFIG=$PG_CONFIG lacks $missing"
elif [ -n "$(lacking pg_config)" ] || { wants test && lacks_drivers; }; then
  server_lacks=yes
fi

# A server with its headers and test drivers. A release of Debian has one version; where apt
# has several, it is the one on which most tests have run.
server_packages() {
  for major in 15 16 18 17 14 15; do
    ! apt-cache show "postgresql-server-dev-$major" >/dev/null 2>&1 || break
  done
  echo "postgresql-$major postgresql-client-$major postgresql-server-dev-$major"
}

if [ -n "$packages$server_lacks" ]; then
  root=
  [ "$(id -u)" = 0 ] || root=sudo
  by_hand=
  if ! have apt-get; then
    by_hand="install what these packages of Debian hold, then try again:"
  elif [ -n "$root" ] && ! have sudo; then
    by_hand="as root, run: apt-get install"
  else
    # Before this, apt may know no package at all.
    run $root apt-get update -q
  fi
  [ -z "$server_lacks" ] || need "$(server_packages)"
  packages=${packages# }
  [ -z "$by_hand" ] || stop "$by_hand $packages"
  say "missing here: $packages"
  # Debian's packages make and start a server and a pooler of their own, which nobody
  # here needs; they do not while these files say so.
  no_cluster=/etc/postgresql-common/createcluster.d/tidings-setup.conf
  no_service=/usr/sbin/policy-rc.d
  made=
  if [ -z "$dry_run" ]; then
    trap '[ -z "$made" ] || $root rm -f $made' EXIT
    trap 'exit 1' HUP INT TERM
  fi
  if [ -n "$server_lacks" ]; then
    made=$no_cluster
    run $root mkdir -p "${no_cluster%/*}"
    run $root sh -c "echo create_main_cluster = false > $no_cluster"
  fi
  pooler=
  case " $packages " in
  *" pgbouncer "*) pooler=yes ;;
  esac
  # One that is there is the administrator's.
  if [ -n "$pooler" ] && [ ! -e "$no_service" ]; then
    made="$made $no_service"
    run $root sh -c "printf '#!/bin/sh\nexit 101\n' > $no_service && chmod +x $no_service"
  fi
  run $root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends $packages
  # Nor at the next boot.
  if [ -n "$pooler" ] && have systemctl; then
    run $root systemctl disable --quiet pgbouncer || say "pgbouncer starts at boot: disable it"
  fi
fi

# Keeps Debian's packages from starting the services that they bring along, until this script
# ends. A file that is there already is the administrator's.
start_no_service() {
  no_service=/usr/sbin/policy-rc.d
  [ -z "$dry_run" ] && [ ! -e "$no_service" ] || return 0
  made="${made-} $no_service"
  trap '[ -z "$made" ] || $root rm -f $made' EXIT
  trap 'exit 1' HUP INT TERM
  $root sh -c "printf '#!/bin/sh\nexit 101\n' > $no_service && chmod +x $no_service" || true
}

# Installs a package without which something is skipped. To miss it is therefore no reason to
# ask anybody for a password, nor to stop. A service that it brings along stays off.
complete() { # the package, what is skipped without it, and perhaps its service
  have apt-get || return 0
  root=
  if [ "$(id -u)" != 0 ]; then
    have sudo && sudo -n true 2>/dev/null || return 0
    root=sudo
  fi
  say "missing here: $1"
  [ -z "${3-}" ] || start_no_service
  { run $root apt-get update -q &&
    run $root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -q -y --no-install-recommends "$1"; } ||
    say "$1 could not be installed: $2 will be skipped"
  [ -z "${3-}" ] || ! have systemctl ||
    run $root systemctl disable --quiet "$3" || say "$3 starts at boot: disable it"
}

# Some tests have nginx in front of the worker. Debian's is not in everybody's PATH.
if wants test && ! have nginx && ! any_file /usr/sbin/nginx; then
  complete nginx "the tests behind nginx" nginx
fi

# A test lets promtool judge the metrics. Its package brings a server along, which is not
# needed.
if wants test && ! have promtool; then
  complete prometheus "the check of the metrics by promtool" prometheus
fi

# A test's gRPC peer is in Python. Only Debian's is completed, and none is installed.
if wants test && [ "$(command -v python3)" = /usr/bin/python3 ] && ! python3 -c 'import ensurepip' 2>/dev/null; then
  complete python3-venv "the tests that need it"
fi

# `make lint` checks PL/pgSQL by an extension of the server. Only a Postgres of Debian's
# packages is completed.
if wants test && [ -z "${PG_CONFIG-}" ]; then
  share=$(pg_config --sharedir 2>/dev/null || true)
  case "$share" in
  /usr/share/postgresql/*)
    any_file "$share/extension/plpgsql_check.control" ||
      complete "postgresql-${share##*/}-plpgsql-check" "the check of PL/pgSQL"
    ;;
  esac
fi

# ---------------------------------------------------------------- peers

# PgQ is an extension of the server, and only a Postgres of Debian's packages is completed. Its
# package brings a daemon along, which is not needed: a benchmark makes its ticks itself.
if wants bench && [ -z "${PG_CONFIG-}" ]; then
  share=$(pg_config --sharedir 2>/dev/null || true)
  case "$share" in
  /usr/share/postgresql/*)
    any_file "$share/extension/pgq.control" ||
      complete "postgresql-${share##*/}-pgq3" "the comparison with PgQ" pgqd
    ;;
  esac
fi

# Express and pg, in the versions of the lock file, beside what cargo builds.
if wants bench; then
  from=bench/contenders/express
  into=${CARGO_TARGET_DIR:-target}/bench/express
  if ! { [ -d "$into/node_modules/express" ] &&
    cmp -s "$from/package-lock.json" "$into/package-lock.json"; }; then
    run mkdir -p "$into"
    run cp "$from/package.json" "$from/package-lock.json" "$into"
    run npm --prefix "$into" --silent ci --omit=dev --ignore-scripts --no-audit --no-fund || stop "npm could not install Express"
  fi
fi

# ---------------------------------------------------------------- Rust

if ! cargo --version >/dev/null 2>&1; then
  # rustup is there, and the toolchain that this project pins is not.
  channel=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
  have rustup || stop "cargo does not run: install Rust $channel (https://rustup.rs)"
  run rustup toolchain install "$channel" --profile minimal --component rustfmt --component clippy
fi
