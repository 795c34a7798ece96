"""Shell (POSIX) by which directors keep the cluster's lock and its history. No part of a footprint: no host must carry it.

As all scripts it travels on standard input. A file appears whole or not at all, and is written out before it counts: a director
that loses power neither forgets a lock nor invents one. Only root can read any of it.
"""

from collections.abc import Iterable, Mapping
from shlex import quote

from cluster.history import DECLARATIONS, FOLDER, FORMER, HISTORY, KEPT, LOCK_FILE
from facts.kept import LOCK

_PRELUDE = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\numask 022\n"


def take(owner: str) -> str:
    """Takes the lock and prints "taken"; or prints "held" and whose it is. `ln` makes a name only where there is none."""
    return f"""{_PRELUDE}mkdir -p {FOLDER} || exit 1
umask 077
new={FOLDER}/.lock.$$
trap 'rm -f "$new"' EXIT
find {FOLDER} -maxdepth 1 -name '.lock.*' -mmin +5 -delete # of one that lost power in here
printf '%s\\n' {quote(owner)} >"$new" && sync "$new" || exit 1
for i in 1 2 3; do
  if failed=$(ln "$new" {LOCK_FILE} 2>&1); then sync {FOLDER}; echo taken; exit 0; fi
  seen=$({LOCK})
  [ -z "$seen" ] || {{ echo "held $seen"; exit 0; }}
done
echo "$failed" >&2
exit 1
"""


def _mine(owner: str) -> str:
    return f'[ "$(cat {LOCK_FILE} 2>/dev/null)" = {quote(owner)} ]'


def sign(owner: str) -> str:
    """A sign of life: prints "alive", or "lost" if the lock is not ours any more."""
    return f"{_PRELUDE}if {_mine(owner)}; then touch -c {LOCK_FILE} && echo alive; else echo lost; fi\n"


def release(owner: str) -> str:
    """Lets go of the lock if it is ours, for good: a host that loses power must not bring it back."""
    return f"{_PRELUDE}if {_mine(owner)}; then rm -f {LOCK_FILE} && sync {FOLDER}; fi\n"


def break_unreadable(silent_for: int) -> str:
    """Takes a lock away that cannot be read, unless somebody gave a sign of life since it was seen."""
    age = f"$(($(date +%s) - $(stat -c %Y {LOCK_FILE})))"
    return (
        f"{_PRELUDE}[ ! -e {LOCK_FILE} ] || [ {age} -lt {silent_for} ] || {{ rm -f {LOCK_FILE} && sync {FOLDER}; }}\n"
    )


def look() -> str:
    return f"{_PRELUDE}{LOCK}\n"


def remember(file: str, entry: str, declarations: Mapping[str, str]) -> str:
    """Writes an entry of the history, after the declarations that it names (hash → text), and forgets the oldest."""
    line = f"{entry}\n"
    return "\n".join(
        [
            f"""{_PRELUDE}keep() {{ # FOLDER FILE TEXT
  mkdir -p {FOLDER} && (umask 077; mkdir -p "$1"; printf %s "$3" >"$1/.$2.lbctl") && sync "$1/.$2.lbctl" &&
  mv -f "$1/.$2.lbctl" "$1/$2" || {{ rm -f "$1/.$2.lbctl"; exit 1; }}
}}""",
            *_texts(declarations.items()),
            f"keep {HISTORY} {quote(file)} {quote(line)}",
            f"sync {HISTORY}",
            _PRUNE,
            "",
        ]
    )


def set_aside() -> str:
    """Puts away the history of another cluster, in place of what was put away before; prints "set aside" if there was one."""
    return f"""{_PRELUDE}[ -d {HISTORY} ] || exit 0
rm -rf {FORMER}
umask 077
mkdir -p {FORMER} && {{ [ ! -d {DECLARATIONS} ] || mv {DECLARATIONS} {FORMER}; }} && mv {HISTORY} {FORMER} && echo set aside
"""


def _texts(declarations: Iterable[tuple[str, str]]) -> Iterable[str]:
    for name, text in declarations:
        yield f"[ -e {DECLARATIONS}/{name}.toml ] || keep {DECLARATIONS} {name}.toml {quote(text)}"


# Texts that no entry names any more go with the entries that did.
_PRUNE = f"""\
cd {HISTORY} || exit 0
old=$(ls | grep -E '^[0-9]+[.]json$' | sort -n | head -n -{KEPT})
if [ -n "$old" ]; then
  rm -f $old
  cd {DECLARATIONS} && for f in *.toml; do grep -qF "${{f%.toml}}" {HISTORY}/*.json || rm -f "$f"; done
fi
exit 0"""
