%%% @doc The registries that Hex packages come from: whether `hex_repos' and `hex_mirror' are good, and
%%% the list that a client asks.
%%%
%%% A key to a private registry is never a value: only the file or the variable that holds it is named.
-module(bc_gitops_config_hex).

-export([repos/1, mirror/1, registries/1]).

-export_type([repo/0]).

-type repo() :: #{
    name := binary(),
    url := binary(),
    public_key => binary(),      % PEM, or the path of a file with it; hex.pm and its organizations have none
    auth_key_file => binary(),
    auth_key_env => binary()
}.

-define(HEXPM, <<"hexpm">>).
-define(HEXPM_URL, <<"https://repo.hex.pm">>).
-define(KEYS, [name, url, public_key, auth_key_file, auth_key_env]).
-define(URL, "an https url without user and password (http for servers on this machine)").

%% @doc The value of `hex_repos' with binaries for texts.
-spec repos(term()) -> {ok, [repo()]} | {error, Expected :: binary()}.
repos(Given) when is_list(Given) ->
    Checked = [repo(One) || One <- Given],
    Names = [Name || {ok, #{name := Name}} <- Checked],
    case {[Expected || {error, Expected} <- Checked], Names -- lists:usort(Names)} of
        {[], []} -> {ok, [Repo || {ok, Repo} <- Checked]};
        {[], [Name | _]} -> {error, text("one repository named ~ts", [Name])};
        {[Expected | _], _} -> {error, Expected}
    end;
repos(_Given) ->
    {error, <<"a list of maps with name and url">>}.

repo(Given) when is_map(Given) ->
    case {maps:keys(Given) -- ?KEYS, field(name, Given)} of
        {[], {ok, Name}} -> fields(Name, Given);
        {[Unknown | _], _} ->
            {error, text("maps of name, url, public_key, auth_key_file and auth_key_env, not ~0tp", [Unknown])};
        {[], _} ->
            {error, <<"a name in each map: letters, digits and ._:-">>}
    end;
repo(_Given) ->
    {error, <<"a list of maps with name and url">>}.

fields(Name, Given) ->
    Checked = [{Key, field(Key, Given)} || Key <- ?KEYS, is_map_key(Key, Given) orelse Key =:= url],
    case [Expected || {_, {error, Expected}} <- Checked ++ [signed(Name, Given)]] of
        [] ->
            {ok, maps:from_list([{Key, Value} || {Key, {ok, Value}} <- Checked])};
        [Expected | _] ->
            {error, text("~ts for the repository ~ts", [Expected, Name])}
    end.

%% The key of hex.pm, which signs for its organizations as well, is known.
signed(_Name, #{public_key := _}) -> {public_key, ok};
signed(<<"hexpm">>, _Given) -> {public_key, ok};
signed(<<"hexpm:", _/binary>>, _Given) -> {public_key, ok};
signed(_Name, _Given) -> {public_key, {error, <<"a public_key">>}}.

field(Key, Given) ->
    case binary(maps:get(Key, Given, undefined)) of
        {ok, Text} -> check(Key, Text);
        error -> {error, text("a string as ~s", [Key])}
    end.

check(name, Text) ->
    matches(Text, "\\A[A-Za-z0-9][A-Za-z0-9._:-]*\\z", "a name of letters, digits and ._:-");
check(url, Text) ->
    case is_url(Text) of
        true -> {ok, string:trim(Text, trailing, "/")};
        false -> {error, <<"as url ", ?URL>>}
    end;
check(public_key, <<"-----BEGIN", _/binary>> = Pem) ->
    public_key(Pem, Pem);
check(public_key, File) ->
    Path = unicode:characters_to_binary(filename:absname(File)),
    case file:read_file(Path) of
        {ok, Pem} -> public_key(Pem, Path);
        {error, Reason} ->
            {error, text("as public_key a PEM text or a file that can be read (~ts: ~ts)",
                         [Path, file:format_error(Reason)])}
    end;
check(auth_key_file, File) ->
    {ok, unicode:characters_to_binary(filename:absname(File))};
check(auth_key_env, Name) ->
    matches(Name, "\\A[A-Za-z_][A-Za-z0-9_]*\\z", "as auth_key_env the name of an environment variable").

%% What is in it is the client's to judge: a host may run without OTP's public_key.
public_key(Pem, Value) ->
    case binary:match(Pem, <<"-----BEGIN PUBLIC KEY-----">>) of
        nomatch -> {error, <<"a public key in PEM (BEGIN PUBLIC KEY) as public_key">>};
        _ -> {ok, Value}
    end.

matches(Text, Pattern, Expected) ->
    case re:run(Text, Pattern, [{capture, none}]) of
        match -> {ok, Text};
        nomatch -> {error, unicode:characters_to_binary(Expected)}
    end.

%% @doc The value of `hex_mirror'.
-spec mirror(term()) -> {ok, binary()} | {error, Expected :: binary()}.
mirror(Given) ->
    case binary(Given) of
        {ok, Text} ->
            case is_url(Text) of
                true -> {ok, string:trim(Text, trailing, "/")};
                false -> {error, <<?URL>>}
            end;
        error ->
            {error, <<?URL>>}
    end.

is_url(Text) ->
    case uri_string:parse(Text) of
        #{userinfo := _} -> false;
        #{query := _} -> false;
        #{scheme := <<"https">>, host := Host} -> Host =/= <<>>;
        #{scheme := <<"http">>, host := Host} -> is_loopback(Host);
        _ -> false
    end.

is_loopback(<<"localhost">>) -> true;
is_loopback(Host) ->
    case inet:parse_strict_address(unicode:characters_to_list(Host)) of
        {ok, {127, _, _, _}} -> true;
        {ok, {0, 0, 0, 0, 0, 0, 0, 1}} -> true;
        _ -> false
    end.

%% @doc Whom a client asks, in this order: the repositories of `hex_repos', then hex.pm, or the mirror
%% that stands for it. A repository that is named hexpm takes its place. Keys are read from their files.
-spec registries(bc_gitops_config:config()) -> {ok, [repo()]} | {error, {hex_public_key, map()}}.
registries(Config) ->
    Named = defined(hex_repos, Config, []),
    Url = defined(hex_mirror, Config, ?HEXPM_URL),
    Hexpm = [#{name => ?HEXPM, url => Url} || not lists:any(fun is_hexpm/1, Named)],
    with_keys(Named ++ Hexpm, []).

is_hexpm(#{name := Name}) -> Name =:= ?HEXPM.

defined(Key, Config, Default) ->
    case Config of
        #{Key := Value} when Value =/= undefined -> Value;
        #{} -> Default
    end.

with_keys([], Done) ->
    {ok, lists:reverse(Done)};
with_keys([#{public_key := <<"/", _/binary>> = Path, name := Name} = Repo | Rest], Done) ->
    case file:read_file(Path) of
        {ok, Pem} -> with_keys(Rest, [Repo#{public_key := Pem} | Done]);
        {error, Reason} ->
            Message = text("the public key of the Hex repository ~ts cannot be read from ~ts (~ts); "
                           "put it back or change hex_repos", [Name, Path, file:format_error(Reason)]),
            {error, {hex_public_key, #{repo => Name, path => Path, message => Message}}}
    end;
with_keys([Repo | Rest], Done) ->
    with_keys(Rest, [Repo | Done]).

binary(Value) when is_binary(Value), Value =/= <<>> -> {ok, Value};
binary(Value) when is_atom(Value), Value =/= undefined -> {ok, atom_to_binary(Value)};
binary([_ | _] = Value) ->
    try unicode:characters_to_binary(Value) of
        Text when is_binary(Text) -> {ok, Text};
        _ -> error
    catch
        error:badarg -> error
    end;
binary(_Value) -> error.

text(Format, Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).
