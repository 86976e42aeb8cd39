%%% @doc The application hot_t in files, in several versions beside each other: a supervisor, two
%%% servers, and a library without processes.
-module(bct_hot_disk).
-export([build/3, build/4, ebin/2, texts/2, one/0, two/0, start/1, clean/1]).
-export([moment/1, states/0, suspended/0]).

-define(NAMES, [hot_t_sup, hot_a, hot_b]).

%% @doc Its ebin directory below Dir.
ebin(Dir, Version) -> filename:join([Dir, Version, "hot_t", "ebin"]).

%% @doc Writes it in the place of what is there.
build(Dir, Version, Texts) -> build(Dir, Version, Texts, []).

build(Dir, Version, Texts, Keys) ->
    bct_hot:install(ebin(Dir, Version), hot_t, bct_hot:objects(Texts), Keys).

texts(Server, Lib) ->
    Workers = bct_hot:workers([{hot_a, hot_t_server}, {hot_b, hot_t_server}]),
    [{hot_t_sup, bct_hot:supervisor("#{}", Workers)}, {hot_t_server, Server}, {hot_t_lib, Lib}].

one() ->
    texts(bct_hot:server("one", "code_change(_, S, _) -> {ok, S}."), "f() -> 1.").

two() ->
    texts(bct_hot:server("two", "code_change(_, {_, N, E}, _) -> {ok, {two, N, E}}."), "f() -> 2.").

%% @doc Starts it as an embedded system would: all its modules are loaded.
start(Ebin) ->
    true = code:add_pathz(Ebin),
    ok = application:load(hot_t),
    {ok, Modules} = application:get_key(hot_t, modules),
    _ = [{module, M} = code:load_file(M) || M <- Modules],
    ok = application:start(hot_t),
    Modules.

%% @doc Takes it out of the VM, with all directories below Dir.
clean(Dir) ->
    _ = [bct_hot:stop(hot_t) || {hot_t, _, _} <- application:loaded_applications()],
    _ = [code:del_path(Path) || Path <- code:get_path(), lists:prefix(Dir, Path)],
    bct_hot:forget(hot_t).

moment(Modules) -> bct_hot:moment(?NAMES, Modules).

states() -> [gen_server:call(Name, state) || Name <- [hot_a, hot_b]].

suspended() -> [bct_hot:suspended(Name) || Name <- ?NAMES].
