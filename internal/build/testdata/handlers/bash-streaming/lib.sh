shout() { printf '%s\n' "${1^^}"; }
