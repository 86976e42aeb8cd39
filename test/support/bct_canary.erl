%%% @doc Looks for a secret where none may be: terms, processes, tables, files, the process list.
-module(bct_canary).
-export([forms/1, sweep/2, found/2, text/1, seen/1, tree/1]).

%% @doc A secret as it may appear: raw, percent-encoded, base64 at each offset, hexadecimal, reversed.
forms(Secret) ->
    Percent = list_to_binary([io_lib:format("%~2.16.0B", [Byte]) || <<Byte>> <= Secret]),
    Hex = string:lowercase(binary:encode_hex(Secret)),
    Shifted = [inner(base64:encode(<<(binary:copy(<<"x">>, N))/binary, Secret/binary>>)) || N <- [0, 1, 2]],
    lists:usort([Secret, unicode:characters_to_binary(uri_string:quote(Secret)), Percent, Hex | Shifted]).

%% The first and last group of a base64 text depend on what stands beside the secret.
inner(Text) ->
    binary:part(Text, 4, byte_size(Text) - 8).

%% @doc Everything of our modules in this VM, and the files below the paths, as `[{Where, Form}]'.
sweep(Secret, #{modules := Prefix, paths := Paths, terms := Terms}) ->
    Forms = forms(Secret),
    Places =
        [{term, Term} || Term <- Terms] ++
        lists:append([process(Pid, Prefix) || Pid <- processes()]) ++
        [{{table, ets:info(Table, name)}, ets:tab2list(Table)} || Table <- ets:all(), readable(Table, Prefix)] ++
        [{{cmdline, File}, Text} || File <- filelib:wildcard("/proc/[0-9]*/cmdline"), {ok, Text} <- [file:read_file(File)]] ++
        [{{file, File}, Text} || Path <- Paths, File <- files(Path), {ok, Text} <- [file:read_file(File)]],
    [{Where, Form} || {Where, What} <- Places, Form <- found(What, Forms)].

%% @doc The forms that a term holds, in whatever shape.
found(Text, Forms) when is_binary(Text) ->
    [Form || Form <- Forms, binary:match(Text, Form) =/= nomatch];
found(Term, Forms) ->
    Printed = unicode:characters_to_binary(io_lib:format("~0tp", [Term])),
    lists:usort(found(Printed, Forms) ++ found(term_to_binary(Term), Forms)).

process(Pid, Prefix) ->
    case erlang:process_info(Pid, [registered_name, messages, dictionary, initial_call]) of
        undefined ->
            [];
        Info ->
            Ours = lists:prefix(Prefix, name(Info)),
            [{{process, Pid}, Info}] ++ [{{state, Pid}, sys:get_state(Pid)} || Ours, Pid =/= self()]
    end.

name(Info) ->
    case proplists:get_value(registered_name, Info) of
        [] -> "";
        Name -> atom_to_list(Name)
    end.

readable(Table, Prefix) ->
    Name = ets:info(Table, name),
    ets:info(Table, protection) =/= private andalso is_atom(Name) andalso lists:prefix(Prefix, atom_to_list(Name)).

files(Path) ->
    filelib:fold_files(Path, ".*", true, fun(File, Files) -> [File | Files] end, []).

%% @doc What is held in a fun shows neither in a shell nor in a log.
text(Binary) when is_binary(Binary) -> Binary;
text(Term) -> unicode:characters_to_binary(io_lib:format("~0tp", [Term])).

%% @doc What a process shows of itself.
seen(Pid) ->
    {Pid, process_info(Pid, [messages, dictionary, registered_name]), state(fun sys:get_state/1, Pid),
     state(fun sys:get_status/1, Pid)}.

%% Not every process of the tree speaks sys.
state(Ask, Pid) ->
    try Ask(Pid) catch exit:{Reason, _} -> Reason end.

%% @doc The processes below a supervisor.
tree(Supervisor) ->
    [whereis(Supervisor) | lists:flatmap(
        fun({_, Pid, supervisor, _}) when is_pid(Pid) -> [Pid | under(Pid)];
           ({_, Pid, worker, _}) when is_pid(Pid) -> [Pid];
           (_) -> []
        end,
        supervisor:which_children(Supervisor))].

under(Pid) ->
    [Child || {_, Child, _, _} <- supervisor:which_children(Pid), is_pid(Child)].
