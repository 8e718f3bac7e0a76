#!/usr/bin/env bash
# Spends an OAuth refresh token once, saves the next one, and only then delivers the access token.
#
# Needs bash, curl 7.54 or newer and jq, and gh for ghsecret:. Settings are variables:
#   EVERGRANT_REFRESH_TOKEN  the token to spend. CLAUDE_REFRESH_TOKEN in its place makes the next three those of Claude Code
#   EVERGRANT_TOKEN_URL      token endpoint: https, or http on a loopback address
#   EVERGRANT_CLIENT_ID      a public client; no client secret is sent. EVERGRANT_BODY: form, which is the default, or json
#   EVERGRANT_WRITE_BACK     where the next refresh token goes. file:PATH: once that file exists, its token is the one to spend.
#                            ghsecret:OWNER/REPO/NAME[?environment=E]: by gh, with GH_TOKEN. none: the token never changes
#   EVERGRANT_ENV_NAME       in GitHub Actions, a variable to set; the outputs access-token and expires-at-ms are always set there
# Elsewhere the access token, and nothing else, is on standard output. No request is sent twice. Exit: 0 delivered, 1 other,
# 2 settings, 3 sign in again, 4 in doubt, 5 later, 6 nowhere to write, 7 NOT SAVED, 8 saved but not delivered, 10 refused.
#
# What only the evergrant program has: a lease, so that two jobs never spend one token (here you see to it that one runs at a
# time); a record of doubt after a lost reply; a seal, and a rescue block when saving fails (here that token is lost); one
# token for many jobs, refreshed only when it must be; a watch on clocks and on the end of the login.
# shellcheck disable=SC2016 # variables in single quotes are those of jq
set +ex +o posix -uo pipefail # a trace would show tokens; what fails is told
export LC_ALL=C && umask 077
trap '' PIPE # a log that nobody reads must not end a save
export -n EVERGRANT_REFRESH_TOKEN CLAUDE_REFRESH_TOKEN GH_TOKEN GH_ENTERPRISE_TOKEN GITHUB_TOKEN # for no child but gh
version=0.1.0 limit=1048576 actions=${GITHUB_ACTIONS-} host=${GITHUB_SERVER_URL-} masked=yes access='' next='' kind='' life=''
codes=' invalid_grant:3 refresh_token_expired:3 refresh_token_reused:3 refresh_token_invalidated:3 token_expired:3 interaction_required:3 slow_down:5 rate_limit_error:5 server_error:4 internal_error:4
  internal_server_error:4 temporarily_unavailable:4 invalid_client:10 invalid_request:10 unauthorized_client:10 unsupported_grant_type:10 invalid_scope:10 '
spent='the refresh token may be spent, and a spent one that comes again can end the login: do not just try again, sign in and store a new one'

say() { # COMMAND TEXT
  local text=$2
  [ "$actions" != true ] || text=${text//'%'/%25} text=${text//$'\r'/%0D} text=::$1::${text//$'\n'/%0A}
  printf '%s\n' "$text" >&2
}
mask() { [ "$actions" != true ] || say add-mask "$1" || masked=; }
stop() { # CODE TEXT
  local text="refresh.sh: $2"
  case $1 in 2) text+='; nothing was sent' ;; 5 | 6 | 10) text+='; nothing was spent' ;; esac
  say error "${text//[^ -~]/?}"; exit "$1"
}
printable() { [[ -n $1 && $1 != *[^!-~]* ]]; }
random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

settings() { # sets place, path, repository, secret, environment, source, url, scheme, direct, client, body and name
  local is has file octet='(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})' port='([1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]|[1-9][0-9]{0,3})'
  place=${EVERGRANT_WRITE_BACK-} path='' repository='' name=''
  [ -n "$place" ] || stop 6 "EVERGRANT_WRITE_BACK is not set, and the next refresh token would be lost: set file:PATH or ghsecret:OWNER/REPO/NAME, or none if the provider never changes the token"
  is='^(none|file:(.+)|ghsecret:([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)/([A-Za-z_][A-Za-z0-9_]*)([?]environment=([A-Za-z0-9_.-]+))?)$'
  [[ $place =~ $is && $place != *$'\n'* ]] || stop 2 'EVERGRANT_WRITE_BACK is neither file:PATH nor ghsecret:OWNER/REPO/NAME[?environment=E] nor none'
  path=${BASH_REMATCH[2]-} repository=${BASH_REMATCH[3]-} secret=${BASH_REMATCH[4]-} environment=${BASH_REMATCH[6]-}
  source=EVERGRANT_REFRESH_TOKEN url=${EVERGRANT_TOKEN_URL-} client=${EVERGRANT_CLIENT_ID-} body=${EVERGRANT_BODY-}
  if [[ -z ${EVERGRANT_REFRESH_TOKEN-} && -n ${CLAUDE_REFRESH_TOKEN-} ]]; then
    [ "$place" != none ] || stop 2 "EVERGRANT_WRITE_BACK is none, and Claude's refresh tokens rotate: the next one would be lost"
    source=CLAUDE_REFRESH_TOKEN url=${url:-https://platform.claude.com/v1/oauth/token} client=${client:-9d1c250a-e61b-44d9-88ed-5944d1962f5e} body=${body:-json}
  fi
  [ -n "$url" ] || stop 2 'EVERGRANT_TOKEN_URL is not set'; [ -n "$client" ] || stop 2 'EVERGRANT_CLIENT_ID is not set'
  [[ ${body:=form} == form || $body == json ]] || stop 2 'EVERGRANT_BODY is neither form nor json'
  is="localhost|127([.]$octet){3}|\\[::1\\]" has="([a-z0-9_-]+[.])*[a-z][a-z0-9_-]*|$octet([.]$octet){3}" scheme=https direct=''
  shopt -s nocasematch; [[ ! $url =~ ^https?://($is)([:/?]|$) ]] || direct='*'; [[ $url != http:* ]] || scheme=http
  is="^(https://($is|$has)|http://($is))(:$port)?([/?][!\"\$-~]*)?\$"
  [[ $url =~ $is ]] || stop 2 'EVERGRANT_TOKEN_URL is no URL like https://HOST/PATH, without user and fragment; http is for loopback addresses only'
  [[ $url != https://console.anthropic.* ]] || stop 2 'the host of EVERGRANT_TOKEN_URL serves this no more, https://platform.claude.com/v1/oauth/token does'
  shopt -u nocasematch
  if [ "$actions" = true ]; then
    name=${EVERGRANT_ENV_NAME-} is='^[A-Za-z_][A-Za-z0-9_]*$' has='^(GITHUB|RUNNER|ACTIONS|INPUT|LD|DYLD)_|^(CI|PATH|HOME|SHELL|BASH_ENV|NODE_OPTIONS)$'
    [ -z "$name" ] || [[ $name =~ $is && ! $name =~ $has ]] || stop 2 'EVERGRANT_ENV_NAME is no name of a variable, or the name of one that steers the job'
    for file in GITHUB_OUTPUT ${name:+GITHUB_ENV}; do [ -w "${!file-}" ] || stop 2 "$file names no file that can be written"; done
  fi
  for file in curl jq ${repository:+gh}; do command -v "$file" >/dev/null || stop 2 "$file is not installed, and is needed"; done
}

current() { # sets token and its source: that of the file, once there is one
  token=${!source-}
  if [[ -n $path && ( -e $path || -L $path ) ]]; then
    source=$path token=
    [[ ! -f $path || -L $path ]] || token=$(head -c "$limit" <"$path" 2>/dev/null | tr '\0' '\1')
    [ -n "$token" ] || stop 6 "$path should hold the current refresh token, and is empty, unreadable or no regular file"
  fi
  [ -n "$token" ] || stop 2 "$source is not set, and there is no other refresh token"
  while [[ $token == *[$'\r\n'] ]]; do token=${token%?}; done
  printable "$token" || stop 2 "$source holds a space, a line break or what else is in no token"
}

save() { # TOKEN; an empty one only proves that it can be done. Sets why when it cannot
  local folder=. temp; why='EVERGRANT_WRITE_BACK is none'
  [ -z "$repository" ] || { save_secret "$1"; return; }
  [ -n "$path" ] || { [ -z "$1" ]; return; }
  [[ $path != */* ]] || folder=${path%/*}/
  why='its folder is missing or cannot be written'
  temp=$(mktemp "$folder/.evergrant-XXXXXXXX" 2>/dev/null) || return # mode 0600
  why='the disk is full, or the file cannot be replaced'
  { printf '%s\n' "${1:-$(printf '%4096s' '')}" >"$temp" && sync "$temp" && { [ -z "$1" ] || mv -f -- "$temp" "$path"; }; } 2>/dev/null && why=
  rm -f -- "$temp"; sync "$folder" 2>/dev/null # some file systems cannot sync a folder
  [ -z "$why" ]
}
save_secret() {
  why="GH_TOKEN is not set or is the job's own token"
  [ "$actions" != true ] || [[ -n ${GH_TOKEN:-${GH_ENTERPRISE_TOKEN-}} && ${GH_TOKEN:-${GH_ENTERPRISE_TOKEN-}} != "${GITHUB_TOKEN-}" ]] || return
  [ -z "$1" ] || { gh_secret set "$secret" < <(printf %s "$1" 2>/dev/null); return; }
  gh_secret set "${secret}_EVERGRANT_PROBE" < <(random 2>/dev/null) || return
  gh_secret delete "${secret}_EVERGRANT_PROBE" </dev/null || why= # one that stays behind means nothing
}
gh_secret() { # VERB NAME, with the value on standard input
  local told bound=''
  ! command -v timeout >/dev/null || bound='timeout 30'
  # shellcheck disable=SC2086,SC2097,SC2098 # bound is two words or none; what is set is read as it was
  told=$(GH_HOST=${GH_HOST:-${host#*://}} GH_TOKEN=${GH_TOKEN-} GH_ENTERPRISE_TOKEN=${GH_ENTERPRISE_TOKEN:-${GH_TOKEN-}} GITHUB_TOKEN=${GITHUB_TOKEN-} GH_PROMPT_DISABLED=1 \
    $bound gh secret "$1" "$2" --repo "$repository" ${environment:+--env "$environment"} 2>&1) && return
  why="gh: exit $?"; [[ ! $told =~ HTTP\ [0-9]{3} ]] || why="gh: ${BASH_REMATCH[0]}"
  return 1
}

unpack() { # the answer, also where it is gzip that nobody asked for
  local start; IFS= read -r -d '' -n 2 start
  { printf %s "$start"; cat; } | if [ "$start" = $'\x1f\x8b' ]; then gzip -dc; else cat; fi
}
exchange() { # the one request; sets status, reply and wait, or stops
  local filter form told='' sent='' proxied='' line at=0 kind=x-www-form-urlencoded options all is
  filter='"grant_type=refresh_token&refresh_token=\(@uri)&client_id=\($client | @uri)"'
  [ "$body" = form ] || kind=json filter='{grant_type: "refresh_token", refresh_token: ., client_id: $client}'
  form=$(printf %s "$token" 2>/dev/null | jq -cRrs --arg client "$client" "test(\"\") as \$regex | $filter") || stop 2 'jq is too old, or has no regular expressions'
  options=(-q -s -g --http1.1 --connect-timeout 10 -m 30 -A "evergrant-script/$version" -H "Content-Type: application/$kind" -H 'Accept: application/json' -H 'Expect:'
    --data-binary @- --suppress-connect-headers -D - -o /dev/fd/3 -w '\nevergrant %{http_code} %{size_request} %{http_connect}')
  told=$(curl "${options[@]}" --url file:///dev/null </dev/null 2>/dev/null 3>&1; echo " $?") # what is missing shows before anything is sent
  [[ $told == *'evergrant 000 '*' 0' ]] || stop 2 'curl is too old, or does not work here'
  trap '' INT TERM HUP # the token is as good as spent: what comes must be saved, and takes seconds
  # Headers, a line of curl's own and its exit code, then the answer: no file, and no stream that others write to.
  all=$({ reply=$({ printf %s "$form" | curl "${options[@]}" --url "$url" --proto "=$scheme" ${direct:+--noproxy "$direct"}; echo " $?"; } 3>&1 >&4 \
    | unpack | head -c $((limit + 1)) | tr '\0' '\1'); printf %s "$reply"; } 4>&1 2>/dev/null)
  wait='' status='' told='' is='^[Rr][Ee][Tt][Rr][Yy]-[Aa][Ff][Tt][Ee][Rr]: *([0-9]{1,7}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT) *$'
  while [ -z "$told" ] && IFS= read -r line; do
    at=$((at + ${#line} + 1))
    [[ ! ${line%$'\r'} =~ $is ]] || wait=${BASH_REMATCH[1]}
    [[ $line != 'evergrant '* ]] || read -r status sent proxied told < <(printf '%s\n' "${line#* }")
  done < <(printf '%s\n' "$all" 2>/dev/null)
  if [[ -z $told || $status == 000 ]]; then
    case $sent:$proxied:$told in 0:* | *:[1345]??:* | *:35 | *:58 | *:60 | *:77) stop 5 "the host of EVERGRANT_TOKEN_URL cannot be reached (curl: exit $told); try again later" ;; esac
    stop 4 "in doubt: no answer came back (curl: exit ${told:-?}); $spent"
  fi
  reply=${all:at:limit}
}

judge() { # sets access, next, kind and life, or stops with what the answer means
  local fields good=false code='' odd='' fate=4 is seen part
  # A refresh token is taken out of what is no JSON, too. Line by line: whether there are tokens and no error, a known error, the tokens if printable, whether there is another refresh token, the type, the life, what to mask.
  fields=$(printf %s "$reply" 2>/dev/null | jq -rRs --arg known "$codes" 'def there: . != null and . != "" and . != false and . != 0;
    def plain: type == "string" and there and (explode | all(. > 32 and . < 127)); def found($name): [match("(?<!\\\\)\"\($name)\"\\s*:\\s*(\"(?:[!#-\\[\\]-~]|\\\\[\"/\\\\]|\\\\u[0-9A-Fa-f]{4})+\")"; "g")
      | .captures[0].string | fromjson? | select(plain)] | last; . as $text | ([fromjson? | objects] | .[0] // {}) as $top | if [$top.access_token, $top.refresh_token, $top.error | there] | any then $top
      else ($text | if test("^\\s*<(!doctype|html)"; "i") then null else found("refresh_token") end) as $r | $top + if $r == null then {} else {refresh_token: $r, access_token: ($text | found("access_token")),
        token_type: ($text | found("token_type"))} end end | .access_token as $a | .refresh_token as $r | .error as $e | [if $e | type == "object" then $e.code, $e.type else $e end] as $named
    | ($e | there | not) and (($a | there) or ($r | there)), (first($named[] | select(. as $c | $known | index(" \($c):"))) // ""), ($a | if plain then . else "" end),
      ($r | if plain then . else "" end), ($r | there and (plain | not)), (.token_type, .expires_in | . // "" | tostring | ascii_downcase | split("\n") | join(" ")),
      ($a, $r | strings | (split("\n") | join("\r")), (split("\n")[] | split("\r")[]))' 2>/dev/null) || fields=''
  {
    read -r good && IFS= read -r code && IFS= read -r access && IFS= read -r next && read -r odd && IFS= read -r kind && IFS= read -r life
    while IFS= read -r part; do [ -z "$part" ] || mask "$part"; done
  } < <(printf '%s\n' "$fields")
  [[ $status != 2?? ]] || [[ $good != true && ( -z $next || $next == "$token" ) ]] || { [ "$odd" != true ] || next=$'\n'; return; }
  case $status in 429) fate=5 ;; 503) [ -z "$wait" ] || fate=5 ;; 408) ;; [34]??) fate=10 ;; esac
  is=" $code:([0-9]+) "
  [[ ! $codes =~ $is || ${BASH_REMATCH[1]}$status == 105?? || $code$status == temporarily*429 || $code$status == temporarily*503 ]] || fate=${BASH_REMATCH[1]}
  seen="HTTP $status${code:+, $code}"
  [[ -n $code || ! $reply =~ ^[[:space:]]*\< ]] || seen+=', an HTML page'
  case $fate in
  3) stop 3 "the provider takes this refresh token no more ($seen): it was spent, was revoked or has ended; sign in again and put a new one into $source" ;;
  4) stop 4 "in doubt: the answer is of no use ($seen); $spent" ;;
  5) stop 5 "the provider says later ($seen): try again ${wait:+after Retry-After: }${wait:-in some minutes}" ;;
  *) stop 10 "the provider refused the request ($seen), or blocks this address: check URL, client id and body; if they are right, the refresh token itself may be dead, so sign in again" ;;
  esac
}

deliver() {
  local mark file key=access-token
  [ "$actions" = true ] || { printf '%s\n' "$access"; return; }
  if [[ $life =~ ^[0-9]{1,9}$ ]]; then life=$'\nexpires-at-ms='$(($(date +%s) + 10#$life))000; else life=; fi
  for file in "$GITHUB_OUTPUT" ${name:+"$GITHUB_ENV"}; do
    mark=evergrant_$(random) # that no value can contain
    [ ! -s "$file" ] || [ -z "$(tail -c 1 "$file")" ] || echo >>"$file" # somebody left a line without its end
    printf '%s<<%s\n%s\n%s%s\n' "$key" "$mark" "$access" "$mark" "$life" >>"$file" || return
    key=$name life=
  done
}

[ $# = 0 ] || stop 2 'there are no arguments: settings are variables, which the head of this script names'
settings && current && mask "$token"
give=${repository:+: give GH_TOKEN a fine-grained or App token with Secrets: write (Environments: write for an environment); GITHUB_TOKEN never can}
save '' || stop 6 "${repository:+a secret of }${repository:-$path} cannot be written ($why)$give"
exchange && judge
lost='' saved='the refresh token stays as it was' failed='' done=delivered
if [ -n "$next" ] && [ "$next" != "$token" ]; then
  saved='its refresh token is saved' lost='it is no printable text'
  for pause in 0 1 2 4; do
    printable "$next" || break
    sleep "$pause"
    if save "$next"; then lost='' && break; else lost=$why; fi
    [ "$place" != none ] || break
  done
fi
if [[ -z $access || -n $kind && $kind != bearer ]]; then done='not delivered'; elif [ -z "$masked" ]; then failed='it cannot be masked in the log'; else deliver 2>/dev/null || failed='it cannot be written'; fi
[ -z "$lost" ] || stop 7 "NOT SAVED: the new refresh token could not be kept ($lost). It is gone with this process and printed nowhere; the access token was ${failed:+not }$done. Sign in again and store the new refresh token"
[ "$done" = delivered ] || stop 1 "the answer holds no access token that can be used as a bearer token; $saved"
[ -z "$failed" ] || stop 8 "the access token could not be delivered ($failed); $saved, so mend that and run this again"
