__ostler_state=/run/ostler/state
# Options of `shopt`, put back where they differ.
__ostler_shopt() {
  local __ostler_name
  [[ $1 == "$BASHOPTS" ]] && return
  for __ostler_name in ${BASHOPTS//:/ }; do shopt -u "$__ostler_name"; done
  for __ostler_name in ${1//:/ }; do shopt -s "$__ostler_name"; done
}
# Without a subshell, which would cost more than all the rest, and with few lists that bash writes line by line.
__ostler_save() {
  local __ostler_name __ostler_line
  local -a __ostler_lines __ostler_kept=() __ostler_exported=()
  {
    printf '__ostler_shopt %q\n' "$__ostler_shopts"
    printf -v __ostler_line '${!%s@} ' {A..Z} {a..z} _
    eval "__ostler_lines=($__ostler_line)"
    for __ostler_name in "${__ostler_lines[@]}"; do
      case $__ostler_name in
        __ostler_*|BASH*|EUID|PPID|UID|SHELLOPTS|FUNCNAME|GROUPS|DIRSTACK|LINENO|RANDOM|SRANDOM|SECONDS|PIPESTATUS|HISTCMD|EPOCH*|COMP_*|OPTIND|OPTERR|PWD|SHLVL|_|IFS) ;;
        *) __ostler_kept+=("$__ostler_name") ;;
      esac
    done
    (( ${#__ostler_kept[@]} )) && declare -p "${__ostler_kept[@]}"
    printf 'IFS=%q\n' "$__ostler_ifs"
    declare -F >|"$__ostler_state.$$.names"
    mapfile -t __ostler_lines <"$__ostler_state.$$.names"
    __ostler_kept=()
    for __ostler_line in "${__ostler_lines[@]}"; do
      __ostler_name=${__ostler_line##* }
      case $__ostler_name in
        __ostler_*) continue ;;
      esac
      __ostler_kept+=("$__ostler_name")
      [[ ${__ostler_line% *} == *x* ]] && __ostler_exported+=("$__ostler_name")
    done
    (( ${#__ostler_kept[@]} )) && declare -f "${__ostler_kept[@]}"
    (( ${#__ostler_exported[@]} )) && printf 'export -f %q\n' "${__ostler_exported[@]}"
    alias -p
    umask -p
    printf 'cd -- %q || cd /workspace\n' "$PWD"
    [[ ${OLDPWD-} ]] && printf 'OLDPWD=%q\n' "$OLDPWD"
    __ostler_line=
    for __ostler_name in ${__ostler_options//:/ }; do
      case $__ostler_name in
        allexport|errexit|errtrace|functrace|ignoreeof|keyword|noclobber|noglob|nounset|physical|pipefail|posix|xtrace) __ostler_line+="set -o $__ostler_name; " ;;
      esac
    done
    printf '__ostler_set=%q\n#whole\n' "$__ostler_line"
  } >|"$__ostler_state.$$"
}
__ostler_set=
if [[ -f $__ostler_state ]]; then
  . "$__ostler_state" >/dev/null 2>&1 </dev/null
fi
IFS= read -r -d '' -u 9 __ostler_command
exec 9<&-
trap '{ __ostler_status=$? __ostler_options=$SHELLOPTS __ostler_shopts=$BASHOPTS __ostler_ifs=$IFS; set +aeux +o posix +o noclobber +o pipefail; IFS=$'"' \t\n'"'; } >/dev/null 2>&1; __ostler_save >/dev/null 2>&1 </dev/null; exit "$__ostler_status"' EXIT
eval "$__ostler_set"
eval "$__ostler_command"
