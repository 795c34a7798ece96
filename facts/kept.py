"""What directors keep of lock and history, as shell (POSIX) prints it."""

from shlex import quote

from cluster.history import DECLARATIONS, HISTORY, LOCK_FILE

LOCK = (
    # Between the two looks it may be gone.
    f"if [ -f {LOCK_FILE} ]; then t=$(stat -c %Y {LOCK_FILE} 2>/dev/null) && "
    # Not by echo: dash's reads backslashes, and there is one in the name of a user of a Windows domain.
    f"printf '%s %s\\n' \"$(($(date +%s) - t))\" \"$(head -c 4000 {LOCK_FILE} 2>/dev/null | tr '\\n' ' ')\"; fi"
)
"""One line, for `cluster.history.SeenLock.read`; nothing where nobody holds it."""

# Of two names the longer has the greater number. The shell reads it itself: no program is started.
LAST_CHANGE = f"""\
last=
if cd {HISTORY} 2>/dev/null; then
  for f in *.json; do [ -f "$f" ] && [ ${{#f}} -ge ${{#last}} ] && last=$f; done
  if [ -n "$last" ]; then
    echo "file $last"
    while IFS= read -r line || [ -n "$line" ]; do printf 'line %s:%s\\n' "$last" "$line"; done <"$last"
  fi
  cd /
fi"""
"""The newest entry only, as `HISTORY_ALL` prints it: whether it was finished is all that is wanted."""

HISTORY_ALL = f"""\
if cd {HISTORY} 2>/dev/null; then
  for f in *.json; do [ -f "$f" ] && echo "file $f"; done
  grep -H '' /dev/null *.json 2>/dev/null | sed 's/^/line /'
fi
if cd {DECLARATIONS} 2>/dev/null; then for f in *.toml; do [ -f "$f" ] && echo "text $f"; done; fi
echo end"""
"""Lines for `cluster.history.history`."""


def text(name: str) -> str:
    """Prints the text of a declaration, by its hash, in base64: to the last character."""
    return f"base64 {quote(f'{DECLARATIONS}/{name}.toml')}"
