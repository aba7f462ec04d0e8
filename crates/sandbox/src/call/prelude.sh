__ostler_state=/run/ostler/state
# Options of `shopt`, put back where they differ.
__ostler_shopt() {
  local __ostler_name
  [[ $1 == "$BASHOPTS" ]] && return
  for __ostler_name in ${BASHOPTS//:/ }; do shopt -u "$__ostler_name"; done
  for __ostler_name in ${1//:/ }; do shopt -s "$__ostler_name"; done
}
# Everything at once: choosing would cost more than all the rest. What cannot be assigned is refused when it is loaded.
__ostler_save() {
  local __ostler_name __ostler_line
  {
    printf '__ostler_shopt %q\n' "$__ostler_shopts"
    declare -p
    printf 'IFS=%q OPTIND=1\n' "$__ostler_ifs"
    declare -f
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
# Until here there need be no command. Nobody will ever say that there is one once 62 is closed.
read -r -u 62 || exit
SECONDS=0
IFS= read -r -d '' -u 63 __ostler_command
exec 62<&- 63<&-
trap '{ __ostler_status=$? __ostler_command= __ostler_options=$SHELLOPTS __ostler_shopts=$BASHOPTS __ostler_ifs=$IFS; set +aeux +o posix +o noclobber +o pipefail; IFS=$'"' \t\n'"'; } >/dev/null 2>&1; __ostler_save >/dev/null 2>&1 </dev/null; exit "$__ostler_status"' EXIT
eval "$__ostler_set"
eval "$__ostler_command"
