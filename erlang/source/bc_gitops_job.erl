%%% @doc Waits for a job of the native library: the answer, and what it tells on the way.
-module(bc_gitops_job).

-export([run/2, run/3, await/4]).

-export_type([start/0, answer/0, on_progress/0]).

%% One of the native library's `..._start' functions with its request.
-type start() :: fun((ReplyTo :: pid(), Ref :: reference()) ->
    {ok, bc_gitops_native:job()} | {error, {atom(), map()}}).
-type answer() :: {ok, map()} | {error, {Kind :: atom(), Details :: map()}}.
-type on_progress() :: fun((map()) -> any()).

%% The library answers every job by its own deadline and a moment; past this it is broken.
-define(MARGIN, 5000).

%% @doc Runs a job that has Timeout milliseconds. It ends with the calling process.
-spec run(start(), Timeout :: non_neg_integer()) -> answer().
run(Start, Timeout) ->
    run(Start, Timeout, fun(_) -> ok end).

%% @doc The same; OnProgress is called in the calling process.
-spec run(start(), Timeout :: non_neg_integer(), on_progress()) -> answer().
run(Start, Timeout, OnProgress) ->
    Ref = make_ref(),
    case Start(self(), Ref) of
        {ok, Job} -> await(Job, Ref, Timeout + ?MARGIN, OnProgress);
        {error, _} = Error -> Error
    end.

%% @doc Waits for a job that the calling process started, at most Wait milliseconds.
-spec await(bc_gitops_native:job(), reference(), Wait :: timeout(), on_progress()) -> answer().
await(Job, Ref, Wait, OnProgress) ->
    await(Job, Ref, OnProgress, deadline(Wait), Wait).

await(Job, Ref, OnProgress, Deadline, Left) ->
    receive
        {bc_gitops_job, Ref, Answer} ->
            drop(Ref),
            Answer;
        {bc_gitops_job_progress, Ref, Progress} ->
            _ = OnProgress(Progress),
            await(Job, Ref, OnProgress, Deadline, left(Deadline))
    after Left ->
        ok = bc_gitops_native:job_cancel(Job),
        drop(Ref),
        {error, {timeout, #{message => <<"the native library gave no answer">>}}}
    end.

deadline(infinity) -> infinity;
deadline(Wait) -> erlang:monotonic_time(millisecond) + Wait.

left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

drop(Ref) ->
    receive
        {bc_gitops_job_progress, Ref, _} -> drop(Ref)
    after 0 ->
        ok
    end.
