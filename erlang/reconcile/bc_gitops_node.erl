%%% @doc Where the node stands between boot and stop. Asks `init' only, never application_controller.
-module(bc_gitops_node).

-export([notify_booted/0, is_stopping/0, incarnation/0, os_pid/0, start_time/1]).

%% @doc `booted', or `wait': then `{init, started}' comes as a message when the boot script is done.
%% (init answers `started' for the first element of its status only after -eval and -s have run;
%% code of theirs may well wait for us, so the end of the boot script is what counts.)
-spec notify_booted() -> booted | wait.
notify_booted() ->
    case init:notify_when_started(self()) of
        started -> booted;
        ok -> wait
    end.

%% @doc Whether the node is going down: then what stops has not failed.
-spec is_stopping() -> boolean().
is_stopping() ->
    {Internal, _Provided} = init:get_status(),
    Internal =:= stopping.

%% @doc The operating system's number of this VM.
-spec os_pid() -> pos_integer().
os_pid() ->
    list_to_integer(os:getpid()).

%% @doc What tells this run of the VM from every other.
-spec incarnation() -> {pos_integer(), binary()}.
incarnation() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            OsPid = os_pid(),
            {ok, Started} = start_time(OsPid),
            persistent_term:put(?MODULE, {OsPid, Started}),
            {OsPid, Started};
        Incarnation ->
            Incarnation
    end.

%% @doc When a process of the operating system was started, as text to be compared: with its number
%% it names a process even after the number was given out again.
-spec start_time(pos_integer()) -> {ok, binary()} | {error, not_running}.
start_time(OsPid) ->
    case filelib:is_regular("/proc/self/stat") of
        true -> proc_start_time(OsPid);
        false -> ps_start_time(OsPid)
    end.

%% proc(5): the 22nd field, counted after the command's name, which is in parentheses and may hold any.
proc_start_time(OsPid) ->
    case file:read_file(["/proc/", integer_to_list(OsPid), "/stat"]) of
        {ok, Text} ->
            [_, AfterName] = string:split(Text, <<") ">>, trailing),
            {ok, lists:nth(20, binary:split(AfterName, <<" ">>, [global]))};
        {error, _} ->
            {error, not_running}
    end.

ps_start_time(OsPid) ->
    Port = open_port(
        {spawn_executable, os:find_executable("ps")},
        [binary, exit_status, hide, {args, ["-o", "lstart=", "-p", integer_to_list(OsPid)]}]
    ),
    collect(Port, <<>>).

collect(Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> {ok, string:trim(Output)};
        {Port, {exit_status, _}} -> {error, not_running}
    end.
