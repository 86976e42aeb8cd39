%%% @doc The directories in which builds happen: `scratch/INCARNATION/N'. An incarnation is one VM;
%%% its file `owner' says which process of which machine it is, so that the next one can remove what
%%% a dead one left, and nothing of a living one.
-module(bc_gitops_scratch).

-export([open/1, beat/1, new/1, remove/2, reap_dead/1, own_process/0, marker/1]).

-include_lib("kernel/include/file.hrl").

%% From the end of its input a runner takes its grace and the time to kill.
-define(RUNNER_TIME, 15000).
%% Millions of files.
-define(REMOVE_TIME, 600000).
%% A VM in another container or on another machine can't be looked for: it lives while it touches
%% its file. Its beat is a minute.
-define(SILENT, 600).

%% @doc Makes the directory of this VM in a workspace.
-spec open(Workspace :: binary()) -> {ok, Incarnation :: binary()} | {error, {unwritable, map()}}.
open(Workspace) ->
    #{os_pid := Pid, started := Started} = Process = own_process(),
    Unique = erlang:unique_integer([positive]),
    Name = iolist_to_binary(io_lib:format("~s-~s-~b", [Pid, digits(Started), Unique])),
    Dir = filename:join([Workspace, <<"scratch">>, Name]),
    Steps = [
        fun() -> filelib:ensure_path(Workspace) end,
        fun() -> file:change_mode(Workspace, 8#700) end,
        fun() -> filelib:ensure_path(Dir) end,
        fun() -> bc_gitops_tree:write_atomically(owner(Dir), io_lib:format("~tp.~n", [Process])) end
    ],
    case first_error(Steps) of
        ok -> {ok, Dir};
        {error, Reason} -> {error, {unwritable, #{path => Dir, reason => Reason}}}
    end.

%% Without /proc the start is a date.
digits(Text) ->
    << <<Digit>> || <<Digit>> <= Text, Digit >= $0, Digit =< $9 >>.

first_error([]) -> ok;
first_error([Step | Rest]) ->
    case Step() of
        ok -> first_error(Rest);
        {error, _} = Error -> Error
    end.

%% @doc Says that this VM lives.
-spec beat(Incarnation :: binary()) -> ok.
beat(Dir) ->
    %% A disk that is full or gone is noticed by the next build.
    _ = file:change_time(owner(Dir), calendar:local_time()),
    ok.

%% @doc A new directory for one build.
-spec new(Incarnation :: binary()) -> {ok, binary()} | {error, {unwritable, map()}}.
new(Incarnation) ->
    Dir = filename:join(Incarnation, integer_to_binary(erlang:unique_integer([positive]))),
    case filelib:ensure_path(Dir) of
        ok -> {ok, Dir};
        {error, Reason} -> {error, {unwritable, #{path => Dir, reason => Reason}}}
    end.

%% @doc The environment by which every process of a build is known.
-spec marker(Scratch :: file:filename_all()) -> {string(), file:filename_all()}.
marker(Scratch) ->
    {"BC_GITOPS_SCRATCH", Scratch}.

%% @doc Removes a scratch directory; `reap' first ends the processes that still use it.
-spec remove(Dir :: binary(), reap | empty) -> ok | {error, {unwritable, map()}}.
remove(Dir, reap) ->
    ok = reap(Dir),
    remove(Dir, empty);
remove(Dir, empty) ->
    case bc_gitops_tree:remove(Dir) of
        ok -> ok;
        {error, _} = Error -> remove_any(Dir, Error)
    end.

%% A build can leave directories so deep that their paths have no name for the system.
remove_any(Dir, Error) ->
    {ok, Runner} = bc_gitops_command:runner(),
    Command = #{program => Runner, args => ["remove", Dir], timeout => ?REMOVE_TIME},
    case bc_gitops_command:run(Command) of
        {ok, _} -> ok;
        {error, _} -> Error
    end.

reap(Dir) ->
    Wait = integer_to_list(?RUNNER_TIME),
    {ok, Runner} = bc_gitops_command:runner(),
    Command = #{program => Runner, args => ["reap", "--marker", Dir, "--wait", Wait],
                timeout => 2 * ?RUNNER_TIME},
    case bc_gitops_command:run(Command) of
        {ok, _} -> ok;
        {error, Reason} ->
            logger:warning("bc_gitops: processes of a build may be left in ~ts: ~ts",
                           [Dir, bc_gitops_command:format_error(Reason)])
    end.

%% @doc Ends the processes and removes the directories of dead incarnations.
-spec reap_dead(Workspace :: binary()) -> ok.
reap_dead(Workspace) ->
    Scratch = filename:join(Workspace, <<"scratch">>),
    Names = case file:list_dir(Scratch) of
        {ok, All} -> All;
        {error, _} -> []
    end,
    Dead = [Dir || Name <- Names, Dir <- [filename:join(Scratch, Name)], not is_alive(Dir)],
    lists:foreach(fun remove_dead/1, Dead).

remove_dead(Dir) ->
    case remove(unicode:characters_to_binary(Dir), reap) of
        ok -> logger:notice("bc_gitops: removed what a build left in ~ts", [Dir]);
        {error, {_, #{reason := Reason}}} ->
            logger:warning("bc_gitops: cannot remove ~ts: ~ts", [Dir, bc_gitops_words:reason(Reason)])
    end.

is_alive(Dir) ->
    case {file:consult(owner(Dir)), own_process()} of
        {{ok, [#{space := Space} = Owner]}, #{space := Space}} -> runs(Owner);
        {{ok, _}, _} -> has_beaten(owner(Dir));
        {{error, _}, _} -> has_beaten(Dir)
    end.

has_beaten(File) ->
    case file:read_file_info(File, [{time, posix}]) of
        {ok, #file_info{mtime = Time}} -> erlang:system_time(second) - Time < ?SILENT;
        {error, _} -> false
    end.

runs(#{os_pid := Pid, started := Started}) ->
    started(Pid) =:= Started.

%% @doc This VM as an operating-system process: its id, when it started, and the space in which that
%% id means something (boot and process namespace).
-spec own_process() -> #{os_pid := binary(), started := binary(), space := binary()}.
own_process() ->
    Pid = list_to_binary(os:getpid()),
    #{os_pid => Pid, started => started(Pid), space => space()}.

%% Field 22 of /proc/PID/stat, in ticks since boot; the name in field 2 may hold anything.
started(Pid) ->
    case {os:type(), file:read_file(<<"/proc/", Pid/binary, "/stat">>)} of
        {_, {ok, Stat}} ->
            Fields = string:lexemes(lists:last(binary:split(Stat, <<")">>, [global])), " "),
            lists:nth(20, Fields);
        {{unix, linux}, {error, _}} ->
            <<"none">>;
        {_, {error, _}} ->
            Program = #{program => "ps", args => ["-o", "lstart=", "-p", Pid]},
            case bc_gitops_command:run(Program) of
                {ok, #{output := Output}} -> string:trim(Output);
                {error, _} -> <<"none">>
            end
    end.

space() ->
    Boot = case file:read_file("/proc/sys/kernel/random/boot_id") of
        {ok, Id} -> string:trim(Id);
        {error, _} -> <<>>
    end,
    Namespace = case file:read_link("/proc/self/ns/pid") of
        {ok, Link} -> unicode:characters_to_binary(Link);
        {error, _} -> <<>>
    end,
    {ok, Host} = inet:gethostname(),
    iolist_to_binary([Host, " ", Boot, " ", Namespace]).

owner(Dir) ->
    filename:join(Dir, "owner").
