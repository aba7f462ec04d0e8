# One group, so that all of it is parsed before anything of the workload is loaded: no alias of its changes it. Builtins are
# named as such because of its functions.
{
  # Options of `shopt`, put back where they differ.
  __ostler_shopt() {
    builtin local __ostler_name
    [[ $1 == "$BASHOPTS" ]] && builtin return
    for __ostler_name in ${BASHOPTS//:/ }; do builtin shopt -u "$__ostler_name"; done
    for __ostler_name in ${1//:/ }; do builtin shopt -s "$__ostler_name"; done
  }
  __ostler_place() { builtin :; }
  __ostler_set=
  # When memory runs out, what runs here is ended and not init, with which the sandbox would be gone.
  { builtin echo 900 >/proc/self/oom_score_adj; } 2>/dev/null
  # Until here there need be no command. Nobody will ever say that there is one once 62 is closed.
  builtin read -r -a __ostler_given -t 1000000 -u 62 || builtin exit
  if [[ -f /run/ostler/state ]]; then
    builtin . /run/ostler/state >/dev/null 2>&1 </dev/null
  fi
  # What a session is given; a state that was left before may have another value, or none.
  [[ ${__ostler_given[0]+x} ]] && { builtin export "${__ostler_given[@]}"; } 2>/dev/null
  __ostler_left= __ostler_said=
  # How it ended, as soon as that is known: who waits for it need not wait for the state.
  __ostler_say() {
    builtin local -
    builtin set +eux +o noclobber
    [[ $__ostler_said ]] && builtin return
    if [[ $1 ]]; then
      # A trap of the command itself may stand in the place of ours, and has yet to run.
      builtin local __ostler_trap=
      builtin trap -p EXIT >|"/run/ostler-shell/status.$$"
      builtin read -r __ostler_trap <"/run/ostler-shell/status.$$"
      [[ $__ostler_trap == *__ostler_say* ]] || builtin return
    fi
    __ostler_said=1
    builtin printf '%s\n' "$__ostler_status" >|"/run/ostler-shell/status.$$"
    builtin kill -s USR1 "$PPID"
  }
  # Everything at once: choosing would cost more than all the rest. What cannot be assigned is refused when it is loaded.
  __ostler_leave() {
    [[ $__ostler_left ]] && builtin return
    __ostler_left=1 __ostler_command= __ostler_options=$SHELLOPTS __ostler_shopts=$BASHOPTS
    builtin set +aeux +o posix +o noclobber +o pipefail
    builtin unset -f __ostler_shopt __ostler_place __ostler_leave __ostler_say
    {
      builtin printf '__ostler_shopt %q\n' "$__ostler_shopts"
      builtin declare -p
      [[ -v IFS ]] || builtin printf 'unset IFS\n'
      builtin printf 'OPTIND=1\n'
      builtin declare -f
      builtin alias -p
      builtin umask -p
      builtin printf '__ostler_place() { builtin cd -- %q || builtin cd /workspace%s; }\n' "$PWD" "${OLDPWD:+; OLDPWD=${OLDPWD@Q}}"
      builtin local IFS=' ' __ostler_name __ostler_line=
      for __ostler_name in ${__ostler_options//:/ }; do
        case $__ostler_name in
          allexport|errexit|errtrace|functrace|ignoreeof|keyword|noclobber|noglob|nounset|physical|pipefail|posix|xtrace) __ostler_line+="set -o $__ostler_name; " ;;
        esac
      done
      builtin printf '__ostler_set=%q\n#whole\n' "$__ostler_line"
    } >|"/run/ostler-shell/state.$$"
  }
  SECONDS=0
  { __ostler_place; } >/dev/null 2>&1
  builtin mapfile -d '' -u 63 __ostler_command
  exec 62<&- 63<&-
  builtin trap '{ __ostler_status=$?; \__ostler_say; \__ostler_leave; } >/dev/null 2>&1 </dev/null; \builtin exit "$__ostler_status"' EXIT
  builtin eval "${__ostler_set:+$__ostler_set$'\n'}$__ostler_command"
  { __ostler_status=$?; __ostler_say first; __ostler_leave; } >/dev/null 2>&1 </dev/null
  builtin exit "$__ostler_status"
}
