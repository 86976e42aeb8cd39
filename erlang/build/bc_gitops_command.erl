%%% @doc Runs one program through the runner in priv: argv and never a shell, an environment that is
%%% written out in full, a deadline, an output limit. When it ends, for whatever reason, none of its
%%% processes is left; the same when the calling process or the VM dies.
-module(bc_gitops_command).

-export([run/1, find/1, describe/2, runner/0, format_error/1]).

-export_type([command/0]).

-type command() :: #{
    program := file:filename_all(),      % a name to be looked for in PATH, or a path
    args => [unicode:chardata()],
    cd => file:filename_all(),
    env => [{string(), unicode:chardata()}],
    timeout => non_neg_integer(),        % milliseconds
    max_output => pos_integer(),         % bytes
    memory => pos_integer() | undefined, % bytes of address space of each process
    keep_output => boolean(),            % false: only on_output sees it
    on_output => fun((binary()) -> any())
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
    when Kind :: exit_status | timeout | output_limit | not_found | signal | cannot_run | runner.
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
    case os:find_executable(to_list(Name), path()) of
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
format_error({signal, #{command := Command, signal := Signal}}) ->
    io_lib:format("~ts was ended by signal ~b", [Command, Signal]);
format_error({not_found, #{program := Program}}) ->
    io_lib:format("~ts is not on the path", [Program]);
format_error({Kind, #{message := Message}}) ->
    io_lib:format("~p: ~ts", [Kind, Message]).

run(Runner, Program, Command) ->
    Args = runner_args(Command) ++ ["--", Program | arguments(Command)],
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
    ++ [Arg || Memory <- [maps:get(memory, Command, undefined)], Memory =/= undefined,
               Arg <- ["--memory", integer_to_list(Memory)]]
    ++ [Arg || #{cd := Dir} <- [Command], Arg <- ["--cd", to_list(Dir)]].

timeout(Command) -> maps:get(timeout, Command, ?TIMEOUT).

max_output(Command) -> maps:get(max_output, Command, ?MAX_OUTPUT).

arguments(Command) ->
    [to_list(Arg) || Arg <- maps:get(args, Command, [])].

%% A port inherits the whole environment of the VM: every name that is not given is taken away.
environment(Given) ->
    Set = maps:merge(passed(), maps:from_list([{Name, to_list(Value)} || {Name, Value} <- Given])),
    Unset = [{Name, false} || Name <- os_names(), not is_map_key(Name, Set)],
    Unset ++ maps:to_list(Set).

passed() ->
    Passed = bc_gitops_build_config:passed_variables(),
    Values = [{Name, os:getenv(Name)} || Name <- Passed],
    maps:from_list([{"PATH", path()}, {"LANG", "C.UTF-8"}
                    | [Pair || {_, Value} = Pair <- Values, Value =/= false]]).

os_names() ->
    [hd(string:split(Variable, "=")) || Variable <- os:getenv(), hd(Variable) =/= $=].

%% The start scripts of a VM put its own directory in front. That of a release has an `erl' without
%% compiler: tools are looked for behind it.
path() ->
    Root = code:root_dir(),
    Directories = string:lexemes(os:getenv("PATH", "/usr/local/bin:/usr/bin:/bin"), ":"),
    lists:flatten(lists:join(":", case is_installation(Root) of
        true -> Directories;
        false -> [Dir || Dir <- Directories, not lists:prefix(Root, Dir)]
    end)).

is_installation(Root) ->
    Release = erlang:system_info(otp_release),
    filelib:is_regular(filename:join([Root, "releases", Release, "OTP_VERSION"])).

to_list(Text) when is_binary(Text) -> unicode:characters_to_list(Text);
to_list(Text) -> unicode:characters_to_list([Text]).

to_binary(Text) -> unicode:characters_to_binary([Text]).
