%%% @doc What the demo deploys from elsewhere than git: two Hex packages in a registry, and the archive
%%% of a release. This node serves both on loopback.
-module(bcg_demo_shop).

-export([open/1, sources/2]).

-export_type([goods/0]).

-type goods() :: #{archive_url := binary(), archive_sha256 := binary()}.

-define(REPOSITORY, samples).
-define(PACKAGES, ["beads", "abacus"]).
-define(ARCHIVED, "lantern").
-define(VERSION, "1.0.0").

%% @doc Publishes and serves everything, and configures bc_gitops to use the registry.
-spec open(bcg_demo_world:world()) -> goods().
open(#{dir := Dir} = World) ->
    Served = filename:join(Dir, "served"),
    Registry = bcg_hex_registry:start(#{dir => Served, name => atom_to_binary(?REPOSITORY)}),
    lists:foreach(fun(Name) -> publish(World, Registry, Name) end, ?PACKAGES),
    ok = configure(Registry),
    Archive = archive(World, Served),
    {ok, Bytes} = file:read_file(Archive),
    Path = list_to_binary(filename:basename(Archive)),
    #{
        archive_url => <<(bcg_hex_registry:url(Registry))/binary, "/", Path/binary>>,
        archive_sha256 => hex(crypto:hash(sha256, Bytes))
    }.

configure(Registry) ->
    _ = application:load(bc_gitops),
    application:set_env(bc_gitops, hex_repos, [#{
        name => ?REPOSITORY,
        url => bcg_hex_registry:url(Registry),
        public_key => bcg_hex_registry:public_key(Registry)
    }]).

publish(World, Registry, Name) ->
    Root = root(World, Name),
    Files = ["rebar.config" | filelib:wildcard("src/*", Root)],
    ok = bcg_hex_registry:publish(Registry, #{
        name => list_to_binary(Name),
        version => <<?VERSION>>,
        requirements => requirements(Root),
        files => [{File, read(filename:join(Root, File))} || File <- Files]
    }).

requirements(Root) ->
    {ok, Config} = file:consult(filename:join(Root, "rebar.config")),
    Needs = proplists:get_value(deps, Config, []),
    maps:from_list([{atom_to_binary(Name), list_to_binary(Range)} || {Name, Range} <- Needs]).

%% An archive as `systools' writes it: the application and the OTP libraries that it names.
archive(#{dir := Dir} = World, To) ->
    Name = ?ARCHIVED ++ "-" ++ ?VERSION,
    Ebin = filename:join([Dir, "lib", Name, "ebin"]),
    ok = filelib:ensure_path(Ebin),
    ok = compile(World, Ebin),
    Base = filename:join(Dir, Name),
    ok = file:write_file(Base ++ ".rel", io_lib:format("~tp.~n", [release()])),
    Options = [{path, [Ebin]}, silent],
    {ok, _, _} = systools:make_script(Base, [{outdir, Dir} | Options]),
    {ok, _, _} = systools:make_tar(Base, [{outdir, To} | Options]),
    filename:join(To, Name ++ ".tar.gz").

compile(World, Ebin) ->
    Source = filename:join(root(World, ?ARCHIVED), "src"),
    Modules = [
        begin
            {ok, Module} = compile:file(filename:join(Source, File),
                                        [debug_info, deterministic, {outdir, Ebin}]),
            Module
        end
     || {File, _} <- sources(World, list_to_atom(?ARCHIVED))
    ],
    AppFile = ?ARCHIVED ++ ".app",
    {ok, [{application, App, Keys}]} = file:consult(filename:join(Source, AppFile ++ ".src")),
    Complete = {application, App, lists:keystore(modules, 1, Keys, {modules, Modules})},
    file:write_file(filename:join(Ebin, AppFile), io_lib:format("~tp.~n", [Complete])).

release() ->
    Libraries = [{App, version(App)} || App <- [kernel, stdlib]],
    {release, {?ARCHIVED, ?VERSION}, {erts, erlang:system_info(version)},
     Libraries ++ [{list_to_atom(?ARCHIVED), ?VERSION}]}.

version(App) ->
    _ = application:load(App),
    {ok, Version} = application:get_key(App, vsn),
    Version.

%% @doc The Erlang sources of one of these applications.
-spec sources(bcg_demo_world:world(), atom()) -> [{file:filename(), binary()}].
sources(World, App) ->
    Files = filelib:wildcard(filename:join([root(World, atom_to_list(App)), "src", "*.erl"])),
    [{filename:basename(File), read(File)} || File <- Files].

root(#{examples := Examples}, Name) ->
    filename:join([Examples, "apps", Name]).

read(File) ->
    {ok, Content} = file:read_file(File),
    Content.

hex(Bytes) ->
    << <<(string:lowercase(integer_to_binary(N, 16)))/binary>> || <<N:4>> <= Bytes >>.
