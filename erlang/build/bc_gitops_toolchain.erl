%%% @doc What built a thing: the versions of the build tool and of OTP, as the tool prints them. A
%%% build is found again only under the same toolchain.
-module(bc_gitops_toolchain).

-export([new/0, identity/2, identity/3, loadable/1]).

-define(TABLE, ?MODULE).
-define(TIMEOUT, 60000).

%% @doc Makes the table of what tools said; its owner is the caller.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [set, public, named_table, {read_concurrency, true}]),
    ok.

%% @doc What built, or is to build, the tree at Dir.
-spec identity(Tool :: module(), Dir :: file:filename(), Environment :: [{string(), file:filename_all()}]) ->
    {ok, #{text := binary(), otp := binary()}} | {error, {atom(), map()}}.
identity(Tool, Dir, Environment) ->
    case bc_gitops_build_tool:is_prebuilt(Tool) of
        true -> Tool:toolchain(Dir);
        false -> identity(Tool, Environment)
    end.

%% @doc What a tool says of itself, asked once for each program file. Home is an empty directory:
%% tools write there.
-spec identity(Tool :: module(), Environment :: [{string(), string()}]) ->
    {ok, #{text := binary(), otp := binary()}} | {error, {atom(), map()}}.
identity(Tool, Environment) ->
    case bc_gitops_build_tool:missing(Tool) of
        none ->
            {Name, Args} = Tool:version(),
            {ok, Program} = bc_gitops_command:find(Name),
            cached(file_id(Program), Program, Args, Environment);
        {error, _} = Error ->
            Error
    end.

%% @doc Whether what this toolchain builds can be loaded by this VM: OTP reads code of older
%% releases, not of newer ones.
-spec loadable(#{otp := binary(), _ => _}) -> ok | {error, {otp_mismatch, map()}}.
loadable(#{otp := Otp}) ->
    Running = list_to_binary(erlang:system_info(otp_release)),
    case binary_to_integer(Otp) =< binary_to_integer(Running) of
        true -> ok;
        false -> {error, {otp_mismatch, #{tools => Otp, running => Running}}}
    end.

file_id(Program) ->
    {ok, Info} = file:read_file_info(Program, [{time, posix}]),
    {Program, element(2, Info), element(6, Info), erlang:system_info(otp_release)}.

cached(Id, Program, Args, Environment) ->
    case ets:lookup(?TABLE, Id) of
        [{_, Identity}] -> {ok, Identity};
        [] -> ask(Id, Program, Args, Environment)
    end.

ask(Id, Program, Args, Environment) ->
    Command = #{program => Program, args => Args, env => Environment, timeout => ?TIMEOUT},
    case bc_gitops_command:run(Command) of
        {ok, #{output := Output}} ->
            case parse(Output) of
                {ok, Identity} ->
                    true = ets:insert(?TABLE, {Id, Identity}),
                    {ok, Identity};
                error ->
                    {error, {tool_version, #{program => list_to_binary(Program), output => Output}}}
            end;
        {error, _} = Error ->
            Error
    end.

%% "rebar 3.19.0 on Erlang/OTP 25 Erts 13.1.5", "Erlang/OTP 25 [erts-13.1.5] … Elixir 1.14.0 …"
parse(Output) ->
    case re:run(Output, "OTP ([0-9]+)", [{capture, all_but_first, binary}]) of
        {match, [Otp]} -> {ok, #{text => string:trim(without_cpus(Output)), otp => Otp}};
        nomatch -> error
    end.

%% The banner of a VM counts the processors, which change nothing of what it compiles.
without_cpus(Text) ->
    re:replace(Text, " \\[(smp|ds|async-threads):[^\\]]*\\]", "", [global, {return, binary}]).
