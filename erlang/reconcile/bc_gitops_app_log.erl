%%% @doc What the log is told of a managed app. Each line begins with the commit and the app's name.
-module(bc_gitops_app_log).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([say/4, begun/3, done/3, failed/5]).

%% @doc Format begins with a place for the app's name. The event has no domain of our own: OTP's default
%% handler shows events without one and those of otp, nothing else.
-spec say(logger:level(), Format :: string(), Args :: [term()], bc_gitops_state:app()) -> ok.
say(Level, Format, Args, #{name := Name, commit := Commit}) ->
    ?LOG(Level, "~ts " ++ Format, [short(Commit), Name | Args],
         #{application => bc_gitops, app => Name, commit => Commit}).

short(<<Short:7/binary, _/binary>>) -> Short;
short(_) -> "-------".

%% @doc An attempt begins.
-spec begun(bc_gitops_goal:step(), bc_gitops_goal:goal(), bc_gitops_state:app()) -> ok.
begun(Action, #{reasons := Reasons}, Store) ->
    say(info, "~ts: ~ts (~ts)", [Action, reasons(Reasons)], Store).

reasons([]) -> "asked by hand";
reasons(Reasons) -> bc_gitops_words:names([reason(Reason) || Reason <- Reasons]).

reason({version, From, To}) -> io_lib:format("version ~ts to ~ts", [From, To]);
reason(Reason) -> Reason.

%% @doc An attempt has arrived; an upgrade says how.
-spec done(bc_gitops_goal:step(), #app_state{}, bc_gitops_state:app()) -> ok.
done(Action, #app_state{version = Version, details = Details}, Store) ->
    How = case Action =:= upgrade andalso bc_gitops_hot_switch:describe(Details) of
        Said when is_binary(Said), Said =/= <<>> -> [" (", Said, ")"];
        _ -> ""
    end,
    say(notice, "~ts: ~ts done, ~ts runs~ts", [Action, Version, How], Store).

%% @doc An attempt has failed, and what happens next.
-spec failed(quarantine | {retry, WaitMs :: pos_integer()}, Reason :: term(),
             {bc_gitops_goal:step(), Target :: bc_gitops_state:revision() | undefined},
             Running :: #app_state{} | undefined, bc_gitops_state:app()) -> ok.
failed(Next, Reason, {Action, Target}, Running, Store) ->
    {Level, What} = next(Next),
    say(Level, "~ts: ~ts~ts failed: ~ts; ~ts; ~ts",
        [Action, target(Target), bc_gitops_failure:describe(Reason), runs(Running, Store), What], Store).

next(quarantine) -> {error, "not tried again until its spec or source changes"};
next({retry, Wait}) -> {warning, io_lib:format("tried again in ~b ms", [Wait])}.

target(#{version := Version}) -> [" to ", Version];
target(undefined) -> "".

runs(#app_state{version = Version}, _Store) -> [Version, " runs"];
runs(undefined, #{confirmed := #{version := Version}}) -> ["nothing of it runs, ", Version, " ran well before"];
runs(undefined, _Store) -> "nothing of it runs".
