%%% @doc The machine that was measured: its kind, never its name.
-module(bench_machine).

-export([lines/0]).

lines() ->
    [["processor: ", cpu(), ", ", integer_to_list(erlang:system_info(logical_processors_available)),
      " available"],
     ["memory: ", memory()],
     ["system: ", system()],
     ["Erlang/OTP ", otp(), ", ERTS ", erlang:system_info(version), ", ",
      atom_to_list(erlang:system_info(emu_flavor))],
     [program("git", ["--version"]), "; ", program("openssl", ["version"])],
     ["date: ", today()]].

cpu() ->
    first(read("/proc/cpuinfo"), "model name\\s*:\\s*(.*)").

memory() ->
    Kb = list_to_integer(first(read("/proc/meminfo"), "MemTotal:\\s*(\\d+)")),
    io_lib:format("~.1f GiB", [Kb / 1048576]).

system() ->
    Name = first(read("/etc/os-release"), "PRETTY_NAME=\"(.*)\""),
    {_, Kind} = os:type(),
    [Name, ", ", atom_to_list(Kind), " ", version(os:version())].

version({Major, Minor, _}) -> io_lib:format("~b.~b", [Major, Minor]).

otp() ->
    Release = erlang:system_info(otp_release),
    File = filename:join([code:root_dir(), "releases", Release, "OTP_VERSION"]),
    case file:read_file(File) of
        {ok, Version} -> string:trim(Version);
        {error, _} -> Release
    end.

today() ->
    {{Y, M, D}, _} = calendar:universal_time(),
    io_lib:format("~b-~2..0b-~2..0b", [Y, M, D]).

program(Name, Args) ->
    {ok, Output} = bench_program:run(Name, Args, "."),
    string:trim(hd(string:split(Output, "\n"))).

read(File) ->
    case file:read_file(File) of
        {ok, Text} -> Text;
        {error, _} -> <<>>
    end.

first(Text, Pattern) ->
    case re:run(Text, Pattern, [{capture, all_but_first, list}, multiline, {newline, lf}]) of
        {match, [Found]} -> Found;
        nomatch -> "0"
    end.
