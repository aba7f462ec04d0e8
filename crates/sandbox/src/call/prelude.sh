__ostler_state=/run/ostler/state
__ostler_save() {
  local __ostler_name __ostler_kind __ostler_line
  {
    # Lists go through files: a subshell for each would cost more than all the rest.
    compgen -v >|"$__ostler_state.$$.names"
    while read -r __ostler_name; do
      case $__ostler_name in
        __ostler_*|BASH*|EUID|PPID|UID|SHELLOPTS|FUNCNAME|GROUPS|DIRSTACK|LINENO|RANDOM|SRANDOM|SECONDS|PIPESTATUS|HISTCMD|EPOCH*|COMP_*|OPTIND|OPTERR|PWD|SHLVL|_|IFS) ;;
        *) declare -p "$__ostler_name" ;;
      esac
    done <"$__ostler_state.$$.names"
    printf 'IFS=%q\n' "$__ostler_ifs"
    declare -F >|"$__ostler_state.$$.names"
    while read -r __ostler_line __ostler_kind __ostler_name; do
      case $__ostler_name in
        __ostler_*) ;;
        *) declare -f "$__ostler_name"; [[ $__ostler_kind == *x* ]] && printf 'export -f %q\n' "$__ostler_name" ;;
      esac
    done <"$__ostler_state.$$.names"
    shopt -p
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
    printf '__ostler_set=%q\n' "$__ostler_line"
  } >|"$__ostler_state.$$" && : >|"$__ostler_state.$$.whole"
}
__ostler_set=
if [[ -f $__ostler_state ]]; then
  . "$__ostler_state" >/dev/null 2>&1 </dev/null
  unset __ostler_name __ostler_kind __ostler_line
fi
IFS= read -r -d '' -u 9 __ostler_command
exec 9<&-
trap '{ __ostler_status=$? __ostler_options=$SHELLOPTS __ostler_ifs=$IFS; set +aeux +o posix +o noclobber +o pipefail; IFS=$'"' \t\n'"'; } >/dev/null 2>&1; __ostler_save >/dev/null 2>&1 </dev/null; exit "$__ostler_status"' EXIT
eval "$__ostler_set"
eval "$__ostler_command"
