%%% @doc Owns the tables of the embedded runtime: what it deployed, and which libraries it put on
%%% the code path for whom. Readers read the tables; changes go through this process.
%%%
%%% Applications go on when bc_gitops alone is restarted, and a switch may have been ended half way, so
%%% each row is kept as a persistent term too, from which a new owner fills the tables. Writes are as
%%% rare as switches, and a switch scans all processes anyway when it purges code.
-module(bc_gitops_runtime_table).
-behaviour(gen_server).

-export([start_link/0, put/3, remove/2, set_libs/1, find/1, all/0, libs/0, lib/1]).
-export([is_ours/1, is_our_path/1]).
-export([init/1, handle_call/3, handle_cast/2]).

-export_type([entry/0, lib/0]).

%% What runs, or ran until it stopped by itself.
-type entry() :: #{
    name := atom(),
    spec := tuple(),
    build := map(),
    base_env := #{atom() => term()},     % the environment without the spec
    host_env := #{atom() => term()},     % what somebody had set before it was first loaded
    root := pid() | undefined,
    started_at := calendar:datetime(),
    details := map()
}.
%% A library on the code path; while its code is being replaced: by which process, and by what.
-type lib() :: #{lib := bc_gitops_code:lib(), owners := [atom()], switching := pid() | none,
                 next := bc_gitops_code:lib() | none}.

-define(ENTRIES, bc_gitops_runtime_entries).
-define(LIBS, bc_gitops_runtime_libs).
-define(INDEX(Table), {?MODULE, Table}).
-define(KEPT(Table, Name), {?MODULE, Table, Name}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case gen_server:start_link({local, ?MODULE}, ?MODULE, [], []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Records what now runs under a name, and what became of libraries with it.
-spec put(atom(), entry(), #{atom() => lib() | gone}) -> ok.
put(Name, Entry, Libs) ->
    gen_server:call(?MODULE, {put, Name, Entry, Libs}, infinity).

%% @doc Forgets an application.
-spec remove(atom(), #{atom() => lib() | gone}) -> ok.
remove(Name, Libs) ->
    gen_server:call(?MODULE, {remove, Name, Libs}, infinity).

%% @doc Changes who holds which library. Callers hold the lock `libs'.
-spec set_libs(#{atom() => lib() | gone}) -> ok.
set_libs(Libs) ->
    gen_server:call(?MODULE, {set_libs, Libs}, infinity).

-spec find(atom()) -> {ok, entry()} | not_found.
find(Name) ->
    case lookup(?ENTRIES, Name) of
        [{Name, Entry}] -> {ok, Entry};
        [] -> not_found
    end.

-spec all() -> [entry()].
all() ->
    case ets:whereis(?ENTRIES) of
        undefined -> [];
        _ -> [Entry || {_, Entry} <- ets:tab2list(?ENTRIES)]
    end.

%% @doc The libraries on the code path that are ours.
-spec libs() -> #{atom() => lib()}.
libs() ->
    case ets:whereis(?LIBS) of
        undefined -> #{};
        _ -> maps:from_list(ets:tab2list(?LIBS))
    end.

-spec lib(atom()) -> {ok, lib()} | not_found.
lib(Name) ->
    case lookup(?LIBS, Name) of
        [{Name, Lib}] -> {ok, Lib};
        [] -> not_found
    end.

%% @doc Whether an application, managed or a dependency, was put there by us.
-spec is_ours(atom()) -> boolean().
is_ours(App) ->
    lookup(?LIBS, App) =/= [].

%% @doc Whether an application's directory is on the code path because we put it there.
-spec is_our_path(binary()) -> boolean().
is_our_path(Path) ->
    Ours = [Held || #{lib := Lib, next := Next} <- maps:values(libs()),
                    Held <- [Lib, Next], Held =/= none],
    lists:any(fun(#{path := P} = Lib) -> P =:= Path andalso not is_map_key(on_host, Lib) end, Ours).

lookup(Table, Key) ->
    case ets:whereis(Table) of
        undefined -> [];
        Tid -> ets:lookup(Tid, Key)
    end.

%%% gen_server

-spec init([]) -> {ok, state}.
init([]) ->
    Options = [named_table, protected, {read_concurrency, true}],
    _ = ets:new(?ENTRIES, Options),
    _ = ets:new(?LIBS, Options),
    true = refill(?ENTRIES),
    true = refill(?LIBS),
    {ok, state}.

-spec handle_call(tuple(), gen_server:from(), state) -> {reply, ok, state}.
handle_call({put, Name, Entry, Libs}, _From, State) ->
    write(?ENTRIES, Name, Entry),
    change_libs(Libs),
    {reply, ok, State};
handle_call({remove, Name, Libs}, _From, State) ->
    erase(?ENTRIES, Name),
    change_libs(Libs),
    {reply, ok, State};
handle_call({set_libs, Libs}, _From, State) ->
    change_libs(Libs),
    {reply, ok, State}.

-spec handle_cast(term(), state) -> {noreply, state}.
handle_cast(_Message, State) ->
    {noreply, State}.

change_libs(Libs) ->
    maps:foreach(
        fun
            (Name, gone) -> erase(?LIBS, Name);
            (Name, Lib) -> write(?LIBS, Name, Lib)
        end,
        Libs
    ).

%% A term that is replaced costs a look at every process, so an unchanged row is not written.
write(Table, Name, Row) ->
    case ets:lookup(Table, Name) of
        [{Name, Row}] ->
            ok;
        _ ->
            ets:insert(Table, {Name, Row}),
            persistent_term:put(?KEPT(Table, Name), Row),
            index(Table, fun(Names) -> lists:usort([Name | Names]) end)
    end.

erase(Table, Name) ->
    ets:delete(Table, Name),
    index(Table, fun(Names) -> lists:delete(Name, Names) end),
    _ = persistent_term:erase(?KEPT(Table, Name)),
    ok.

index(Table, Change) ->
    Names = persistent_term:get(?INDEX(Table), []),
    case Change(Names) of
        Names -> ok;
        Changed -> persistent_term:put(?INDEX(Table), Changed)
    end.

refill(Table) ->
    Names = persistent_term:get(?INDEX(Table), []),
    ets:insert(Table, [{Name, persistent_term:get(?KEPT(Table, Name))} || Name <- Names]).
