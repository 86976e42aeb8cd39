%%% @doc Supervises the processes of the managed apps. They are temporary: none of them can exhaust
%%% the restarts of the others; the reconciler starts one again when its app still matters.
-module(bc_gitops_managed_sup).
-behaviour(supervisor).

-export([start_link/0, start_app/2, stop_all/0, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Starts the process of an app that has none.
-spec start_app(bc_gitops_state:app(), bc_gitops_config:config()) -> {ok, pid()} | {error, term()}.
start_app(App, Config) ->
    case supervisor:start_child(?MODULE, [App, Config]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, Reason} -> {error, Reason}
    end.

%% @doc Ends all of them, whatever they do. The apps themselves keep running.
-spec stop_all() -> ok.
stop_all() ->
    lists:foreach(
        fun({_, Pid, _, _}) when is_pid(Pid) ->
                _ = supervisor:terminate_child(?MODULE, Pid);
           (_) ->
                ok
        end,
        supervisor:which_children(?MODULE)
    ).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Child = #{
        id => app,
        start => {bc_gitops_managed_app, start_link, []},
        restart => temporary,
        shutdown => 1000
    },
    {ok, {#{strategy => simple_one_for_one}, [Child]}}.
