%%% @doc A Hex registry on loopback: signed indexes and package archives as hex.pm serves them,
%%% written by the modules that rebar3 itself publishes with. The demo and the tests deploy from it.
%%%
%%% It is a directory of files behind OTP's own web server. What it serves is whole and true; who
%%% wants a broken one changes the files (`tarball_file/3', `index_file/2', `write_index/3').
-module(bcg_hex_registry).

-export([start/1, stop/1, url/1, public_key/1]).
-export([publish/2, retire/4, versions/2, tarball_file/3, index_file/2, write_index/3, new_key/0]).
-export([requests/1, forget_requests/1]).
%% of httpd
-export([do/1]).

-export_type([registry/0, package/0]).

-include_lib("inets/include/httpd.hrl").

-type options() :: #{
    dir := file:filename_all(),
    name => binary(),               % of the repository; hexpm
    auth => binary(),               % who does not say this in `authorization' gets 401
    key => binary(),                % private key, PEM
    port => inet:port_number()
}.
-type registry() :: #{dir := binary(), name := binary(), key := binary(), pid := pid(),
                      port := inet:port_number(), log := pid()}.
-type package() :: #{
    name := binary(),
    version := binary(),
    files := [{string(), iodata()}],
    app => binary(),
    build_tools => [binary()],
    requirements => #{binary() => binary() | #{binary() => term()}}
}.

%% @doc Begins to serve an empty registry, or the one that is in the directory already.
-spec start(options()) -> registry().
start(#{dir := Dir} = Options) ->
    ok = load_rebar3(),
    {ok, _} = application:ensure_all_started(inets),
    Root = unicode:characters_to_binary(filename:absname(Dir)),
    [ok = filelib:ensure_path(filename:join(Root, Sub)) || Sub <- ["packages", "tarballs"]],
    Log = log(),
    {ok, Pid} = inets:start(httpd, [
        {port, maps:get(port, Options, 0)}, {bind_address, {127, 0, 0, 1}},
        {server_name, "localhost"}, {server_root, unicode:characters_to_list(Root)},
        {document_root, unicode:characters_to_list(Root)}, {modules, [?MODULE, mod_get]},
        {hex_auth, digest(maps:get(auth, Options, none))}, {hex_log, Log}
    ]),
    [{port, Port}] = httpd:info(Pid, [port]),
    Key = case Options of
        #{key := Given} -> Given;
        #{} -> new_key()
    end,
    #{dir => Root, name => maps:get(name, Options, <<"hexpm">>), pid => Pid, port => Port, key => Key,
      log => Log}.

%% The server's configuration is in tables that everybody may read.
digest(none) -> none;
digest(Auth) -> crypto:hash(sha256, Auth).

%% @doc Ends the server; the files stay.
-spec stop(registry()) -> ok.
stop(#{pid := Pid, log := Log}) ->
    Log ! stop,
    case inets:stop(httpd, Pid) of
        ok -> ok;
        {error, no_such_service} -> ok
    end.

-spec url(registry()) -> binary().
url(#{port := Port}) ->
    <<"http://127.0.0.1:", (integer_to_binary(Port))/binary>>.

%% @doc What a client needs to trust the registry: PEM.
-spec public_key(registry()) -> binary().
public_key(#{key := Pem}) ->
    [Entry] = public_key:pem_decode(Pem),
    Private = public_key:pem_entry_decode(Entry),
    %% an 'RSAPrivateKey' is {_, Version, Modulus, PublicExponent, ...}
    Public = {'RSAPublicKey', element(3, Private), element(4, Private)},
    public_key:pem_encode([public_key:pem_entry_encode('SubjectPublicKeyInfo', Public)]).

%% @doc A new private key, PEM.
-spec new_key() -> binary().
new_key() ->
    Key = public_key:generate_key({rsa, 2048, 65537}),
    public_key:pem_encode([public_key:pem_entry_encode('RSAPrivateKey', Key)]).

%% @doc Adds a version of a package, or replaces it.
-spec publish(registry(), package()) -> ok.
publish(Registry, #{name := Name, version := Version, files := Files} = Package) ->
    Sorted = [{Path, iolist_to_binary(Content)} || {Path, Content} <- lists:sort(Files)],
    {ok, #{tarball := Tarball, inner_checksum := Inner, outer_checksum := Outer}} =
        r3_hex_tarball:create(metadata(Package), Sorted),
    ok = file:write_file(tarball_file(Registry, Name, Version), Tarball),
    Release = #{version => Version, inner_checksum => Inner, outer_checksum => Outer,
                dependencies => dependencies(Package)},
    put_release(Registry, Name, Release).

%% @doc Marks a version as retired: `RETIRED_SECURITY', `RETIRED_DEPRECATED', ….
-spec retire(registry(), Name :: binary(), Version :: binary(), Reason :: atom()) -> ok.
retire(Registry, Name, Version, Reason) ->
    [Release] = [R || #{version := V} = R <- versions(Registry, Name), V =:= Version],
    Retired = #{reason => Reason, message => <<"do not use it">>},
    put_release(Registry, Name, Release#{retired => Retired}).

metadata(#{name := Name, version := Version, files := Files} = Package) ->
    #{<<"name">> => Name, <<"version">> => Version,
      <<"app">> => maps:get(app, Package, Name),
      <<"build_tools">> => maps:get(build_tools, Package, [<<"rebar3">>]),
      <<"files">> => [unicode:characters_to_binary(Path) || {Path, _} <- Files],
      <<"description">> => <<"A sample">>, <<"licenses">> => [<<"Apache-2.0">>], <<"links">> => #{},
      <<"requirements">> => requirements(Package)}.

requirements(Package) ->
    maps:map(
        fun(Name, #{} = Given) -> maps:merge(requirement(Name, <<">= 0.0.0">>), Given);
           (Name, Versions) -> requirement(Name, Versions)
        end, maps:get(requirements, Package, #{})).

requirement(Name, Versions) ->
    #{<<"app">> => Name, <<"optional">> => false, <<"requirement">> => Versions}.

%% The same as the index has it.
dependencies(Package) ->
    [dependency(Name, Given) || {Name, Given} <- maps:to_list(requirements(Package))].

dependency(Name, #{<<"requirement">> := Versions, <<"app">> := App, <<"optional">> := Optional} = Given) ->
    Dependency = #{package => Name, requirement => Versions, app => App, optional => Optional},
    case Given of
        #{<<"repository">> := Repository} -> Dependency#{repository => Repository};
        #{} -> Dependency
    end.

put_release(#{dir := Dir, key := Key} = Registry, Name, #{version := Version} = Release) ->
    Others = [R || #{version := V} = R <- versions(Registry, Name), V =/= Version],
    Releases = lists:sort(fun(#{version := A}, #{version := B}) -> A =< B end, [Release | Others]),
    ok = file:write_file(releases_file(Registry, Name), term_to_binary(Releases)),
    ok = write_index(Registry, Name, Key),
    %% lists of everything, which clients of one package need not read
    Names = filelib:wildcard("*.releases", unicode:characters_to_list(Dir)),
    All = [{list_to_binary(filename:basename(N, ".releases")), N} || N <- Names],
    write_lists(Registry, [{N, versions(Registry, N)} || {N, _} <- All]).

write_lists(#{dir := Dir, name := Repository, key := Key}, All) ->
    Names = [#{name => N} || {N, _} <- All],
    Versions = [#{name => N, versions => [V || #{version := V} <- Releases],
                  retired => []} || {N, Releases} <- All],
    Encoded = [
        {"names", r3_hex_registry:encode_names(#{repository => Repository, packages => Names})},
        {"versions", r3_hex_registry:encode_versions(#{repository => Repository, packages => Versions})}
    ],
    [ok = file:write_file(filename:join(Dir, File), signed(Payload, Key)) || {File, Payload} <- Encoded],
    ok.

%% @doc The published versions of a package as its index has them, oldest first.
-spec versions(registry(), Name :: binary()) -> [map()].
versions(Registry, Name) ->
    case file:read_file(releases_file(Registry, Name)) of
        {ok, Releases} -> binary_to_term(Releases);
        {error, enoent} -> []
    end.

%% @doc Writes the index of a package, signed with a key.
-spec write_index(registry(), Name :: binary(), Key :: binary()) -> ok.
write_index(#{name := Repository} = Registry, Name, Key) ->
    Package = #{repository => Repository, name => Name, releases => versions(Registry, Name)},
    Signed = signed(r3_hex_registry:encode_package(Package), Key),
    file:write_file(index_file(Registry, Name), Signed).

signed(Payload, Key) ->
    zlib:gzip(r3_hex_registry:sign_protobuf(Payload, Key)).

-spec tarball_file(registry(), Name :: binary(), Version :: binary()) -> file:filename_all().
tarball_file(#{dir := Dir}, Name, Version) ->
    filename:join([Dir, "tarballs", <<Name/binary, "-", Version/binary, ".tar">>]).

-spec index_file(registry(), Name :: binary()) -> file:filename_all().
index_file(#{dir := Dir}, Name) ->
    filename:join([Dir, "packages", Name]).

releases_file(#{dir := Dir}, Name) ->
    filename:join(Dir, <<Name/binary, ".releases">>).

%% Requests

%% @doc The paths that were asked for since the start, the first one first.
-spec requests(registry()) -> [binary()].
requests(#{log := Log}) ->
    ask(Log, requests).

-spec forget_requests(registry()) -> ok.
forget_requests(#{log := Log}) ->
    _ = ask(Log, forget),
    ok.

ask(Log, What) ->
    Ref = monitor(process, Log),
    Log ! {What, self(), Ref},
    receive
        {Ref, Answer} ->
            true = demonitor(Ref, [flush]),
            Answer;
        {'DOWN', Ref, process, Log, Reason} ->
            error({registry_stopped, Reason})
    end.

log() ->
    spawn(fun() -> log([]) end).

log(Paths) ->
    receive
        {asked, Path, From, Ref} -> From ! {Ref, ok}, log([Path | Paths]);
        {requests, From, Ref} -> From ! {Ref, lists:reverse(Paths)}, log(Paths);
        {forget, From, Ref} -> From ! {Ref, ok}, log([]);
        stop -> ok
    end.

%% @doc Called by httpd for each request, before `mod_get'.
-spec do(#mod{}) -> {proceed, list()}.
do(#mod{config_db = Config, request_uri = Uri, parsed_header = Header, data = Data}) ->
    Log = httpd_util:lookup(Config, hex_log),
    ok = asked(Log, iolist_to_binary(Uri)),
    Given = digest(proplists:get_value("authorization", Header, "")),
    case httpd_util:lookup(Config, hex_auth) of
        none -> {proceed, Data};
        Given -> {proceed, Data};
        _ -> {proceed, [{response, {401, "this registry asks for a key"}} | Data]}
    end.

asked(Log, Path) ->
    Ref = make_ref(),
    Log ! {asked, Path, self(), Ref},
    receive {Ref, ok} -> ok end.

%% rebar3's own modules

%% In a VM of rebar3 they are on the path; else its program is an archive of them.
load_rebar3() ->
    case code:ensure_loaded(r3_hex_tarball) of
        {module, _} -> ok;
        {error, _} -> load_rebar3(os:find_executable("rebar3"))
    end.

load_rebar3(false) ->
    error({missing_program, "rebar3", "apt-get install rebar3"});
load_rebar3(Program) ->
    {ok, Sections} = escript:extract(Program, []),
    Wanted = fun(Entry) -> filename:extension(zip_name(Entry)) =:= ".beam" end,
    {ok, Files} = zip:extract(proplists:get_value(archive, Sections), [memory, {file_filter, Wanted}]),
    Beams = [{list_to_atom(filename:basename(File, ".beam")), File, Code} || {File, Code} <- Files],
    Mine = [Beam || {Module, _, _} = Beam <- Beams, is_needed(atom_to_list(Module))],
    lists:foreach(fun({Module, File, Code}) -> {module, _} = code:load_binary(Module, File, Code) end, Mine).

%% A zip_file record: its name comes first.
zip_name(Entry) -> element(2, Entry).

is_needed("r3_" ++ _) -> true;
is_needed(_) -> false.
