%%% @doc Runs one program through the runner in priv: argv and never a shell, an environment that is
%%% written out in full, a deadline, an output limit. When it ends, for whatever reason, none of its
%%% processes is left; the same when the calling process or the VM dies.
-module(bc_gitops_command).

-export([run/1, find/1, describe/2, runner/0, format_error/1]).

-export_type([command/0, limits/0]).

-type command() :: #{
    program := file:filename_all(),      % a name to be looked for in PATH, or a path
    args => [unicode:chardata()],
    cd => file:filename_all(),
    env => [{string(), unicode:chardata()}],
    timeout => non_neg_integer(),        % milliseconds
    max_output => pos_integer(),         % bytes
    limits => limits(),
    wrapper => {file:filename(), [file:filename_all()]} | undefined, % runs the program
    keep_output => boolean(),            % false: only on_output sees it
    on_output => fun((binary()) -> any())
}.

%% What all its processes may use together.
-type limits() :: #{
    processes => pos_integer(),
    memory => pos_integer(),             % bytes
    disk => {pos_integer(), Dir :: file:filename_all()}, % bytes below Dir
    files => pos_integer()               % open in each process
}.

-define(TIMEOUT, 60000).
-define(MAX_OUTPUT, 16 * 1024 * 1024).
%% From TERM to KILL: time enough for a compiler to remove its temporary files.
-define(GRACE, 1000).
%% The runner answers within deadline, grace and its own limit for killing; past that it is broken.
-define(BACKSTOP, 20000).

%% @doc Runs a command to its end. Anything but exit status 0 is an error; its details have the
%% output.
-spec run(command()) ->
    {ok, #{output := binary(), status := 0}}
    | {error, {Kind, Details :: map()}}
    when Kind :: exit_status | timeout | output_limit | process_limit | memory_limit | disk_limit
               | files_limit | not_found | signal | cannot_run | runner.
run(#{program := Name} = Command) ->
    case {find(Name), runner()} of
        {{ok, Program}, {ok, Runner}} -> run(Runner, Program, Command);
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

%% @doc The absolute path of a program.
-spec find(file:filename_all()) ->
    {ok, file:filename()} | {error, {not_found, #{program := binary()}}}.
find(Name) ->
    File = to_list(Name),
    Path = case filename:pathtype(File) of
        absolute -> "";
        _ -> path()
    end,
    case os:find_executable(File, Path) of
        false -> {error, {not_found, #{program => to_binary(Name)}}};
        Program -> {ok, filename:absname(Program)}
    end.

%% @doc A command as a person would type it, for logs and errors; nothing ever runs it.
-spec describe(file:filename_all(), [unicode:chardata()]) -> binary().
describe(Program, Args) ->
    to_binary(lists:join(" ", [Program | Args])).

%% @doc The runner that is built with the native library.
-spec runner() -> {ok, file:filename()} | {error, {runner, map()}}.
runner() ->
    Beam = code:which(?MODULE),
    Root = case code:lib_dir(bc_gitops) of
        {error, bad_name} -> filename:dirname(filename:dirname(Beam));
        Dir -> Dir
    end,
    Runner = filename:absname(filename:join([Root, "priv", "bc_gitops_runner"])),
    case filelib:is_regular(Runner) of
        true -> {ok, Runner};
        false -> {error, {runner, #{message => <<"priv/bc_gitops_runner was not built; build bc_gitops again">>}}}
    end.

%% @doc One line for people.
-spec format_error(term()) -> iodata().
format_error({exit_status, #{command := Command, status := Status}}) ->
    io_lib:format("~ts ended with status ~b", [Command, Status]);
format_error({timeout, #{command := Command, timeout := Timeout}}) ->
    io_lib:format("~ts took longer than ~b ms", [Command, Timeout]);
format_error({output_limit, #{command := Command, limit := Limit}}) ->
    io_lib:format("~ts wrote more than ~b bytes", [Command, Limit]);
format_error({process_limit, #{command := Command, limit := Limit}}) ->
    io_lib:format("~ts had more than ~b processes at a time, or far more threads; look at what it "
                  "starts, or raise build_processes", [Command, Limit]);
format_error({memory_limit, #{command := Command, limit := Limit}}) ->
    io_lib:format("the processes of ~ts held more than ~b bytes of memory; let it do less at a time, "
                  "or raise build_memory", [Command, Limit]);
format_error({disk_limit, #{command := Command, limit := Limit}}) ->
    io_lib:format("~ts wrote more than ~b bytes to disk, or where they cannot be counted; look at "
                  "what it writes, or raise build_disk", [Command, Limit]);
format_error({files_limit, #{command := Command, limit := Limit}}) ->
    io_lib:format("a process of ~ts had ~b files open, which is as many as it may; look at what it "
                  "opens", [Command, Limit]);
format_error({signal, #{command := Command, signal := Signal}}) ->
    io_lib:format("~ts was ended by signal ~b", [Command, Signal]);
format_error({not_found, #{program := Program}}) ->
    io_lib:format("~ts is not on the path", [Program]);
format_error({Kind, #{message := Message}}) ->
    io_lib:format("~p: ~ts", [Kind, Message]).

run(Runner, Program, Command) ->
    Args = runner_args(Command) ++ ["--" | wrapped(Program, arguments(Command), Command)],
    Options = [
        binary, exit_status, use_stdio, hide, {packet, 4},
        {cd, "/"}, {args, Args}, {env, environment(maps:get(env, Command, []))}
    ],
    Port = open_port({spawn_executable, Runner}, Options),
    OnOutput = maps:get(on_output, Command, fun(_) -> ok end),
    Until = erlang:monotonic_time(millisecond) + timeout(Command) + ?GRACE + ?BACKSTOP,
    Keep = maps:get(keep_output, Command, true),
    try collect(Port, OnOutput, Until, Keep, []) of
        {End, Output} -> result(End, iolist_to_binary(Output), Command)
    after
        close(Port)
    end.

wrapped(Program, Args, #{wrapper := {Wrapper, Before}}) ->
    [Wrapper | [to_list(Arg) || Arg <- Before]] ++ [Program | Args];
wrapped(Program, Args, _Command) ->
    [Program | Args].

collect(Port, OnOutput, Until, Keep, Output) ->
    receive
        {Port, {data, <<0, Bytes/binary>>}} ->
            OnOutput(Bytes),
            collect(Port, OnOutput, Until, Keep, [Output | [Bytes || Keep]]);
        {Port, {data, <<1, End/binary>>}} ->
            ok = await_exit(Port, Until),
            {End, Output};
        {Port, {exit_status, Status}} ->
            {{runner, Status}, Output}
    after left(Until) ->
        {{runner, silent}, Output}
    end.

%% The runner says how it ended as its last act: then it is not there either.
await_exit(Port, Until) ->
    receive
        {Port, {exit_status, _}} -> ok
    after left(Until) ->
        ok
    end.

left(Until) ->
    max(0, Until - erlang:monotonic_time(millisecond)).

%% Closing tells the runner to end what may still run. The messages of a closed port stay in the
%% mailbox otherwise, its exit signal too where the caller traps exits.
close(Port) ->
    true = unlink(Port),
    _ = try port_close(Port) catch error:badarg -> already_closed end,
    flush(Port).

flush(Port) ->
    receive
        {Port, _} -> flush(Port);
        {'EXIT', Port, _} -> flush(Port)
    after 0 -> ok
    end.

result(<<"exited 0">>, Output, _Command) ->
    {ok, #{output => Output, status => 0}};
result(<<"exited ", Status/binary>>, Output, Command) ->
    failed(exit_status, #{status => binary_to_integer(Status)}, Output, Command);
result(<<"signalled ", Signal/binary>>, Output, Command) ->
    failed(signal, #{signal => binary_to_integer(Signal)}, Output, Command);
result(<<"deadline">>, Output, Command) ->
    failed(timeout, #{timeout => timeout(Command)}, Output, Command);
result(<<"output_limit">>, Output, Command) ->
    failed(output_limit, #{limit => max_output(Command)}, Output, Command);
result(<<"process_limit">>, Output, #{limits := #{processes := Limit}} = Command) ->
    failed(process_limit, #{limit => Limit}, Output, Command);
result(<<"memory_limit">>, Output, #{limits := #{memory := Limit}} = Command) ->
    failed(memory_limit, #{limit => Limit}, Output, Command);
result(<<"disk_limit">>, Output, #{limits := #{disk := {Limit, _}}} = Command) ->
    failed(disk_limit, #{limit => Limit}, Output, Command);
result(<<"files_limit">>, Output, #{limits := #{files := Limit}} = Command) ->
    failed(files_limit, #{limit => Limit}, Output, Command);
result(<<"cannot_run ", Message/binary>>, Output, Command) ->
    failed(cannot_run, #{message => Message}, Output, Command);
result({runner, How}, Output, Command) ->
    Message = to_binary(io_lib:format("the runner ended without a report: ~p", [How])),
    failed(runner, #{message => Message}, Output, Command).

failed(Kind, Details, Output, #{program := Program} = Command) ->
    Line = describe(Program, maps:get(args, Command, [])),
    {error, {Kind, Details#{command => Line, output => Output}}}.

runner_args(Command) ->
    ["run",
     "--deadline", integer_to_list(timeout(Command)),
     "--grace", integer_to_list(?GRACE),
     "--max-output", integer_to_list(max_output(Command))]
    ++ lists:append([limit(Limit) || Limit <- maps:to_list(maps:get(limits, Command, #{}))])
    ++ [Arg || #{cd := Dir} <- [Command], Arg <- ["--cd", to_list(Dir)]].

limit({processes, Most}) -> ["--processes", integer_to_list(Most)];
limit({memory, Bytes}) -> ["--memory", integer_to_list(Bytes)];
limit({disk, {Bytes, Dir}}) -> ["--disk", integer_to_list(Bytes), "--scratch", to_list(Dir)];
limit({files, Most}) -> ["--files", integer_to_list(Most)].

timeout(Command) -> maps:get(timeout, Command, ?TIMEOUT).

max_output(Command) -> maps:get(max_output, Command, ?MAX_OUTPUT).

arguments(Command) ->
    [to_list(Arg) || Arg <- maps:get(args, Command, [])].

%% A port inherits the whole environment of the VM: every name that is not given is taken away.
environment(Given) ->
    Own = maps:from_list([{Name, to_list(Value)} || {Name, Value} <- Given]),
    Passed = maps:from_list([{"LANG", "C.UTF-8"} | bc_gitops_build_config:passed_environment()]),
    Set = with_path(maps:merge(Passed, Own)),
    Unset = [{Name, false} || Name <- os_names(), not is_map_key(Name, Set)],
    Unset ++ maps:to_list(Set).

with_path(#{"PATH" := _} = Set) -> Set;
with_path(Set) -> Set#{"PATH" => path()}.

path() ->
    lists:append(lists:join(":", bc_gitops_build_path:directories())).

os_names() ->
    [hd(string:split(Variable, "=")) || Variable <- os:getenv(), hd(Variable) =/= $=].

to_list(Text) when is_binary(Text) -> unicode:characters_to_list(Text);
to_list(Text) -> unicode:characters_to_list([Text]).

to_binary(Text) -> unicode:characters_to_binary([Text]).
